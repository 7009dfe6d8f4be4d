//! The `f32` family against oracles in f64, and what no kernel may compare.

use counterpoint_core::simd::{self, GROUP, Level, Simd, TILE, Work, f32, int8};

use super::codes::CodeScan;
use super::{LARGEST, LONGEST, Random, Tally, U, dot, norm, squared_l2};

struct Pair<'a>(&'a [f32], &'a [f32]);

impl Work for Pair<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f32, f32) {
        (simd.dot(self.0, self.1), simd.squared_l2(self.0, self.1))
    }
}

struct Scan<'a>(&'a f32::Panel, &'a f32::Tile, &'a [f32; TILE]);

impl Work for Scan<'_> {
    type Output = [u64; TILE];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [u64; TILE] {
        simd.f32_survivors(self.0, self.1, self.2)
    }
}

/// One row × one row, at odd addresses too, between NaNs that a read beyond either end would bring in.
pub(super) fn rows(level: Level, tally: &mut Tally) {
    let mut random = Random(1);
    for len in (0..=LONGEST).chain([1000, 4097, LARGEST]) {
        for start in 0..4 {
            let mut guarded = |_| {
                let mut values = vec![f32::NAN; len + 32];
                values[8 + start..8 + start + len].fill_with(|| random.unit());
                values
            };
            let [a, b] = [0, 1].map(&mut guarded);
            let (a, b) = (&a[8 + start..8 + start + len], &b[8 + start..8 + start + len]);
            let (got_dot, got_l2) = simd::run(level, Pair(a, b));
            let error = f64::from(f32::dot_error(len));
            tally.check((f64::from(got_dot) - dot(a, b)).abs() <= error * norm(a) * norm(b), || {
                format!("{} dot of {len}: {got_dot}, not {}", level.name(), dot(a, b))
            });
            // Each difference adds two roundings to its square, and all terms are positive.
            tally.check(
                (f64::from(got_l2) - squared_l2(a, b)).abs() <= (error + 3.0 * U) * squared_l2(a, b),
                || format!("{} squared l2 of {len}: {got_l2}, not {}", level.name(), squared_l2(a, b)),
            );
        }
    }
}

/// A panel of 64 rows with terms, and their rows.
pub(super) fn panel(
    dim: usize,
    random: &mut Random,
    mut value: impl FnMut(&mut Random) -> f32,
) -> (f32::Panel, Vec<Vec<f32>>) {
    let rows = random.many(GROUP, |random| random.many(dim, &mut value));
    let mut panel = f32::Panel::new(dim);
    panel.pack(rows.iter().map(Vec::as_slice));
    panel.terms.fill_with(|| value(random));
    (panel, rows)
}

/// Query tile × row group, every dimension and number of queries.
pub(super) fn panels(level: Level, tally: &mut Tally) {
    let mut random = Random(2);
    for dim in 0..=LONGEST {
        for count in 1..=TILE {
            // Whole numbers: sums are exact, so masks are too; limits are values, so ties occur.
            let (exact, exact_rows) = panel(dim, &mut random, Random::whole);
            let queries = random.many(count, |random| random.many(dim, Random::whole));
            let value = |i: usize, r: usize| dot(&queries[i], &exact_rows[r]) as f32 - exact.terms[r];
            let mut limits = [f32::NEG_INFINITY; TILE];
            let mut want = [0_u64; TILE];
            for i in 0..count {
                limits[i] = value(i, random.below(GROUP));
                want[i] = (0..GROUP).map(|r| u64::from(value(i, r) >= limits[i]) << r).sum();
            }
            let tile = f32::Tile::new(dim, queries.iter().map(Vec::as_slice));
            let got = simd::run(level, Scan(&exact, &tile, &limits));
            tally.check(got == want, || {
                format!("{} f32 {dim} × {count}: {got:x?}, not {want:x?}", level.name())
            });

            // Any numbers: rows further from the limit than rounding reaches are decided.
            let (rough, rough_rows) = panel(dim, &mut random, Random::unit);
            let queries = random.many(count, |random| random.many(dim, Random::unit));
            let mut limits = [0.0; TILE];
            limits.fill_with(|| random.unit());
            let tile = f32::Tile::new(dim, queries.iter().map(Vec::as_slice));
            let got = simd::run(level, Scan(&rough, &tile, &limits));
            let held = (0..count).all(|i| {
                (0..GROUP).all(|r| {
                    let (sum, term) = (dot(&queries[i], &rough_rows[r]), f64::from(rough.terms[r]));
                    let bound = f64::from(f32::dot_error(dim)) * norm(&queries[i]) * norm(&rough_rows[r])
                        + 2.0 * U * (sum.abs() + term.abs());
                    let above = sum - term - f64::from(limits[i]);
                    above.abs() <= bound || (above > 0.0) == (got[i] >> r & 1 == 1)
                })
            });
            tally.check(held, || format!("{} f32 {dim} × {count}, random", level.name()));
        }
    }
}

/// What cannot be compared survives: NaN in a row, a query, a term or a limit, and infinities.
pub(super) fn unordered(level: Level, tally: &mut Tally) {
    let mut random = Random(3);
    let dim = 37;
    for r in 0..GROUP {
        for (what, poison) in [("NaN", f32::NAN), ("inf", f32::INFINITY)] {
            let (clean, mut rows) = panel(dim, &mut random, Random::unit);
            let mut queries =
                random.many(TILE, |random| random.many(dim, |random| random.unit().abs() + 0.1));
            let j = random.below(dim);
            queries[1][j] = 0.0; // 0 × inf is NaN
            rows[r][j] = poison;
            let mut panel = clean.clone();
            panel.pack(rows.iter().map(Vec::as_slice));
            let tile = f32::Tile::new(dim, queries.iter().map(Vec::as_slice));
            let got = simd::run(level, Scan(&panel, &tile, &[f32::INFINITY; TILE]));
            tally.check(got == [1 << r; TILE], || format!("{} {what} in row {r}: {got:x?}", level.name()));

            let mut panel = clean.clone();
            panel.terms[r] = -poison;
            let got = simd::run(level, Scan(&panel, &tile, &[f32::INFINITY; TILE]));
            tally.check(got == [1 << r; TILE], || format!("{} {what} in term {r}: {got:x?}", level.name()));
        }
        let (clean, _) = panel(dim, &mut random, Random::unit);
        let i = r % TILE;
        let mut queries = random.many(TILE, |random| random.many(dim, Random::unit));
        let mut limits = [f32::INFINITY; TILE];
        limits[(i + 1) % TILE] = f32::NAN;
        queries[i][random.below(dim)] = f32::NAN;
        let tile = f32::Tile::new(dim, queries.iter().map(Vec::as_slice));
        let got = simd::run(level, Scan(&clean, &tile, &limits));
        let mut want = [0; TILE];
        want[i] = u64::MAX;
        want[(i + 1) % TILE] = u64::MAX;
        tally.check(got == want, || format!("{} NaN in query {i}: {got:x?}", level.name()));

        // The same for codes: a NaN or infinite term of a row, a NaN limit.
        let bytes = vec![7; int8::group_bytes(int8::Bits::Eight, dim)];
        let group = int8::Group::new(int8::Bits::Eight, &bytes);
        let tile = int8::Tile::new(int8::Bits::Eight, dim, [[3_i8; 37].as_slice(); TILE]);
        let mut row_terms = int8::RowTerms { scale: [1.0; GROUP], bias: [1.0; GROUP], offset: [0.0; GROUP] };
        let mut terms = int8::QueryTerms { alpha: [1.0; TILE], gamma: [1.0; TILE], ..Default::default() };
        terms.limit = limits;
        match r % 4 {
            0 => row_terms.scale[r] = f32::NAN,
            1 => row_terms.bias[r] = f32::NAN,
            2 => row_terms.offset[r] = f32::NAN,
            _ => row_terms.offset[r] = f32::NEG_INFINITY,
        }
        let got = simd::run(level, CodeScan(group, &row_terms, &tile, &terms));
        let mut want = [1 << r; TILE];
        want[(i + 1) % TILE] = u64::MAX;
        tally.check(got == want, || format!("{} code row {r} unordered: {got:x?}", level.name()));
    }
}
