//! Every kernel at every length, on every level this processor has, against oracles in f64 and i64.
//!
//! A plain `main` without threads, so that it also runs under qemu-user: `scripts/test-neon.sh`. A level named by
//! `COUNTERPOINT_SIMD` that cannot run here is a failure.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

#[path = "kernels/bytes.rs"]
mod bytes;
#[path = "kernels/rows.rs"]
mod code_rows;
#[path = "kernels/fastscan.rs"]
mod fastscan;
#[path = "kernels/halves.rs"]
mod halves;
#[path = "kernels/linear.rs"]
mod linear;
#[path = "kernels/lines.rs"]
mod lines;
#[path = "kernels/lookups.rs"]
mod lookups;
#[path = "kernels/nibbles.rs"]
mod nibbles;
#[path = "kernels/planes.rs"]
mod planes;
#[path = "kernels/scores.rs"]
mod scores;

use std::process::ExitCode;

use counterpoint_core::simd::{self, GROUP, Level, Simd, TILE, Work, f32, int8};

/// Longest length of the sweeps.
const LONGEST: usize = 256;
/// Largest dimension of the integer kernels: where sums come closest to 2³¹.
const LARGEST: usize = 65_536;
/// Unit roundoff of f32.
const U: f64 = 1.0 / (1 << 24) as f64;

/// Counts what held and what did not.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    fn check(&mut self, held: bool, what: impl FnOnce() -> String) {
        if held {
            self.passed += 1;
        } else {
            self.failed += 1;
            if self.failed <= 20 {
                println!("FAILED: {}", what());
            }
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// Uniform in [-1, 1).
    fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// A small whole number: sums of products of these are exact in f32, in any order.
    fn whole(&mut self) -> f32 {
        self.below(17) as f32 - 8.0
    }

    fn many<T>(&mut self, count: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..count).map(|_| one(self)).collect()
    }
}

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

struct CodeScan<'a>(int8::Group<'a>, &'a int8::RowTerms, &'a int8::Tile, &'a int8::QueryTerms);

impl Work for CodeScan<'_> {
    type Output = [u64; TILE];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [u64; TILE] {
        simd.int8_survivors(self.0, self.1, self.2, self.3)
    }
}

struct Dots<'a>(int8::Group<'a>, &'a int8::Planes);

impl Work for Dots<'_> {
    type Output = [[i32; GROUP]; 2];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [[i32; GROUP]; 2] {
        let mut sums = [[0; GROUP]; 2];
        for quarter in 0..GROUP / int8::QUARTER {
            for (sums, part) in sums.iter_mut().zip(simd.int8_dots(self.0, quarter, self.1)) {
                sums[quarter * int8::QUARTER..][..int8::QUARTER].copy_from_slice(&part);
            }
        }
        sums
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

fn squared_l2(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum()
}

fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

/// One row × one row, at odd addresses too, between NaNs that a read beyond either end would bring in.
fn rows(level: Level, tally: &mut Tally) {
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
fn panel(
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
fn panels(level: Level, tally: &mut Tally) {
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
fn unordered(level: Level, tally: &mut Tally) {
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

/// 64 rows of codes, and their group. Its missing dimensions hold noise: the query's zeros must silence it.
struct Codes {
    bits: int8::Bits,
    rows: Vec<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Codes {
    fn new(
        bits: int8::Bits,
        dim: usize,
        random: &mut Random,
        mut code: impl FnMut(&mut Random, usize, usize) -> u8,
    ) -> Self {
        let rows: Vec<Vec<u8>> = (0..GROUP).map(|r| (0..dim).map(|j| code(random, r, j)).collect()).collect();
        let mut bytes = random.many(int8::group_bytes(bits, dim), |random| random.bits() as u8);
        for (r, row) in rows.iter().enumerate() {
            int8::write_row(bits, &mut bytes, r, row);
        }
        Self { bits, rows, bytes }
    }

    fn group(&self) -> int8::Group<'_> {
        int8::Group::new(self.bits, &self.bytes)
    }

    fn sum(&self, r: usize, query: &[i8]) -> i64 {
        self.rows[r].iter().zip(query).map(|(&c, &q)| i64::from(c) * i64::from(q)).sum()
    }
}

/// The sums of one query, exactly.
fn sums(level: Level, tally: &mut Tally, codes: &Codes, query: &[i8], what: &str) {
    let mut other = query.to_vec();
    other.reverse();
    let got = simd::run(level, Dots(codes.group(), &int8::Planes::new(codes.bits, query, &other)));
    for (plane, got) in [query, &other].into_iter().zip(got) {
        for (r, &got) in got.iter().enumerate() {
            let want = codes.sum(r, plane);
            tally.check(i64::from(got) == want, || {
                let (name, bits, dim) = (level.name(), codes.bits, query.len());
                format!("{name} {bits:?} {dim} {what}: row {r} is {got}, not {want}")
            });
        }
    }
}

/// Codes × query tile, every dimension, width and number of queries.
fn codes(level: Level, tally: &mut Tally) {
    let mut random = Random(4);
    for bits in [int8::Bits::Four, int8::Bits::Eight] {
        for dim in 0..=LONGEST {
            let codes =
                Codes::new(bits, dim, &mut random, |random, _, _| random.bits() as u8 & bits.max_code());
            let all_queries = random.many(TILE, |random| random.many(dim, |random| random.bits() as i8));
            sums(level, tally, &codes, &all_queries[0], "random");
            for count in 1..=TILE {
                let queries = &all_queries[..count];
                let tile = int8::Tile::new(bits, dim, queries.iter().map(Vec::as_slice));
                // Sums are below 2²³, scales powers of two, the rest small whole numbers: values are exact, so
                // masks are too; limits are values, so ties occur.
                let mut rows =
                    int8::RowTerms { scale: [0.0; GROUP], bias: [0.0; GROUP], offset: [0.0; GROUP] };
                rows.scale.fill_with(|| [0.25, 0.5, 1.0][random.below(3)]);
                rows.bias.fill_with(|| random.whole());
                rows.offset.fill_with(|| random.whole());
                let mut terms = int8::QueryTerms::default();
                terms.alpha.fill_with(|| [0.5, 1.0, -1.0][random.below(3)]);
                terms.beta.fill_with(|| random.whole());
                terms.gamma.fill_with(|| random.whole());
                let value = |rows: &int8::RowTerms, terms: &int8::QueryTerms, i: usize, r: usize| {
                    let [scale, bias, offset] = [rows.scale[r], rows.bias[r], rows.offset[r]].map(f64::from);
                    let [alpha, beta, gamma] = [terms.alpha[i], terms.beta[i], terms.gamma[i]].map(f64::from);
                    let sum = codes.sum(r, &queries[i]) as f64;
                    let size = (scale * alpha * sum).abs()
                        + (scale * beta).abs()
                        + (bias * gamma).abs()
                        + offset.abs();
                    (scale * (alpha * sum + beta) + bias * gamma - offset, size)
                };
                let mut want = [0_u64; TILE];
                for (i, want) in want.iter_mut().enumerate().take(count) {
                    terms.limit[i] = value(&rows, &terms, i, random.below(GROUP)).0 as f32;
                    let pass = |r| value(&rows, &terms, i, r).0 >= f64::from(terms.limit[i]);
                    *want = (0..GROUP).map(|r| u64::from(pass(r)) << r).sum();
                }
                let got = simd::run(level, CodeScan(codes.group(), &rows, &tile, &terms));
                tally.check(got == want, || {
                    format!("{} {bits:?} {dim} × {count}: {got:x?}, not {want:x?}", level.name())
                });

                // Any terms: rows further from the limit than rounding reaches are decided.
                for part in [&mut rows.scale, &mut rows.bias, &mut rows.offset] {
                    part.fill_with(|| random.unit());
                }
                for part in [&mut terms.alpha, &mut terms.beta, &mut terms.gamma] {
                    part.fill_with(|| random.unit());
                }
                for i in 0..count {
                    terms.limit[i] = value(&rows, &terms, i, random.below(GROUP)).0 as f32;
                }
                let got = simd::run(level, CodeScan(codes.group(), &rows, &tile, &terms));
                let held = (0..count).all(|i| {
                    (0..GROUP).all(|r| {
                        let (value, size) = value(&rows, &terms, i, r);
                        let above = value - f64::from(terms.limit[i]);
                        above.abs() <= 8.0 * U * size || (above > 0.0) == (got[i] >> r & 1 == 1)
                    })
                });
                tally.check(held, || format!("{} {bits:?} {dim} × {count}, random terms", level.name()));
            }
        }
    }
}

/// The codes and queries that bring sums closest to where 16 or 32 bits end.
fn extremes(level: Level, tally: &mut Tally) {
    let mut random = Random(5);
    for bits in [int8::Bits::Four, int8::Bits::Eight] {
        let most = bits.max_code();
        for dim in [4, 8, 31, 32, 33, 128, 1023, LARGEST - 1, LARGEST] {
            // All largest, all zero, alternately in each of two ways, and either by chance.
            let codes = Codes::new(bits, dim, &mut random, |random, r, j| {
                let largest = match r % 5 {
                    0 => true,
                    1 => false,
                    2 => j % 2 == 0,
                    3 => j % 8 < 4,
                    _ => random.below(2) == 0,
                };
                if largest { most } else { 0 }
            });
            let queries = [
                vec![-128; dim],
                vec![127; dim],
                (0..dim).map(|j| if j % 2 == 0 { -128 } else { 127 }).collect(),
                (0..dim).map(|j| if j % 8 < 4 { 127 } else { -128 }).collect(),
                (0..dim).map(|j| if j % 2 == 0 { 127 } else { 0 }).collect(),
                random.many(dim, |random| if random.below(2) == 0 { -128_i8 } else { 127 }),
            ];
            for query in &queries {
                sums(level, tally, &codes, query, "extreme");
            }
            // In the fused kernel: a value is its sum, converted to f32 with the one rounding all levels share.
            let rows = int8::RowTerms { scale: [1.0; GROUP], bias: [0.0; GROUP], offset: [0.0; GROUP] };
            for count in 1..=TILE {
                let queries = &queries[TILE - count..];
                let tile = int8::Tile::new(bits, dim, queries.iter().map(Vec::as_slice));
                let mut terms = int8::QueryTerms { alpha: [1.0; TILE], ..Default::default() };
                let mut want = [0_u64; TILE];
                for (i, query) in queries.iter().enumerate() {
                    let values: Vec<f32> = (0..GROUP).map(|r| codes.sum(r, query) as f32).collect();
                    terms.limit[i] = values[random.below(GROUP)];
                    want[i] = (0..GROUP).map(|r| u64::from(values[r] >= terms.limit[i]) << r).sum();
                }
                let got = simd::run(level, CodeScan(codes.group(), &rows, &tile, &terms));
                tally.check(got == want, || {
                    format!("{} {bits:?} {dim} × {count}, extreme: {got:x?}, not {want:x?}", level.name())
                });
            }
        }
    }
}

fn main() -> ExitCode {
    // A forced level that cannot run here must fail, not be skipped.
    let active = match Level::active() {
        Ok(level) => level,
        Err(error) => {
            println!("FAILED: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut total = Tally::default();
    for level in Level::available() {
        for (family, check) in [
            ("f32 rows", rows as fn(Level, &mut Tally)),
            ("byte rows", bytes::rows),
            ("byte codes", bytes::codes),
            ("f32 panels", panels),
            ("unordered", unordered),
            ("scores", scores::scores),
            ("float scores", scores::float_scores),
            ("hadamard", linear::hadamard),
            ("products", linear::products),
            ("int8 codes", codes),
            ("int8 extremes", extremes),
            ("code rows", code_rows::dots),
            ("plane sums", planes::sums),
            ("expansions", planes::expansions),
            ("level codes", planes::levels),
            ("codes in lines", lines::every_length),
            ("extremes in lines", lines::extremes),
            ("half rows", halves::rows),
            ("half values", halves::values),
            ("lookup sums", lookups::sums),
            ("lookups full", lookups::extremes),
            ("lookups NaN", lookups::unordered),
            ("nibble sums", nibbles::sums),
            ("nibbles full", nibbles::extremes),
            ("nibbles NaN", nibbles::unordered),
            ("residuals", nibbles::residuals),
            ("fastscan sums", fastscan::sums),
            ("fastscan full", fastscan::extremes),
            ("fastscan NaN", fastscan::unordered),
        ] {
            let mut tally = Tally::default();
            let start = std::time::Instant::now();
            check(level, &mut tally);
            let seconds = start.elapsed().as_secs_f32();
            println!(
                "{:>7} {family:<14} {:>6} passed, {} failed, {seconds:.2} s",
                level.name(),
                tally.passed,
                tally.failed
            );
            total.passed += tally.passed;
            total.failed += tally.failed;
        }
    }
    println!("active level: {}", active.name());
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
