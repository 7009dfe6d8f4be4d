//! The `int8` family against oracles in i64 and f64.

use counterpoint_core::simd::{self, GROUP, Level, Simd, TILE, Work, int8};

use super::{LARGEST, LONGEST, Random, Tally, U};

pub(super) struct CodeScan<'a>(
    pub(super) int8::Group<'a>,
    pub(super) &'a int8::RowTerms,
    pub(super) &'a int8::Tile,
    pub(super) &'a int8::QueryTerms,
);

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

/// 64 rows of codes, and their group. Its missing dimensions hold noise: the query's zeros must silence it.
pub(super) struct Codes {
    pub(super) bits: int8::Bits,
    rows: Vec<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Codes {
    pub(super) fn new(
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

    pub(super) fn group(&self) -> int8::Group<'_> {
        int8::Group::new(self.bits, &self.bytes)
    }

    pub(super) fn sum(&self, r: usize, query: &[i8]) -> i64 {
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
pub(super) fn every_length(level: Level, tally: &mut Tally) {
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
pub(super) fn extremes(level: Level, tally: &mut Tally) {
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
