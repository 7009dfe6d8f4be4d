//! Linear maps of rows, bit-exact across levels.

use counterpoint_core::simd::{self, GROUP, Level, Simd, TILE, Work, f32, product};

use super::{LARGEST, LONGEST, Random, Tally, dot, norm};

struct Hadamard<'a>(&'a mut [f32]);

impl Work for Hadamard<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        simd.hadamard(self.0);
    }
}

/// The Hadamard transform at every length it takes, at odd addresses too: of whole numbers exactly, of others as the
/// scalar level gives it.
pub(super) fn hadamard(level: Level, tally: &mut Tally) {
    let mut random = Random(6);
    for log in simd::hadamard::SHORTEST.ilog2()..=LARGEST.ilog2() {
        let n = 1_usize << log;
        for start in [0, 1, 3] {
            let guard = |values: &[f32]| [&vec![f32::NAN; start], values, &[f32::NAN; 32]].concat();
            let whole = random.many(n, Random::whole);
            let mut got = guard(&whole);
            simd::run(level, Hadamard(&mut got[start..start + n]));
            for i in (0..n).step_by(1 + n / 256) {
                let sign = |j: usize| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
                let want: f32 = whole.iter().enumerate().map(|(j, value)| sign(j) * value).sum();
                let got = got[start + i];
                tally.check(got == want, || {
                    format!("{} hadamard {n} at {i}: {got}, not {want}", level.name())
                });
            }
            let rough = random.many(n, Random::unit);
            let (mut got, mut want) = (guard(&rough), guard(&rough));
            simd::run(level, Hadamard(&mut got[start..start + n]));
            simd::run(Level::SCALAR, Hadamard(&mut want[start..start + n]));
            let same = got.iter().zip(&want).all(|(got, want)| got.to_bits() == want.to_bits());
            tally.check(same, || format!("{} hadamard {n}: other bytes than scalar", level.name()));
        }
    }
}

struct Product<'a>(&'a [f32], product::Vectors<'a>, &'a mut product::Sums);

impl Work for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        simd.add_products(self.0, self.1, self.2);
    }
}

/// Vectors × panel, every depth and number of vectors, between NaNs that a read beyond either end would bring in: near
/// the f64 sums, the bytes of the scalar level, and unchanged when taken in two parts or for one vector alone.
pub(super) fn products(level: Level, tally: &mut Tally) {
    let mut random = Random(7);
    for depth in (0..=LONGEST).chain([1000, 4097]) {
        let mut panel = vec![f32::NAN; depth * GROUP + 64];
        let columns = random.many(GROUP, |random| random.many(depth, Random::unit));
        for (c, column) in columns.iter().enumerate() {
            for (j, &value) in column.iter().enumerate() {
                panel[3 + j * GROUP + c] = value;
            }
        }
        let panel = &panel[3..3 + depth * GROUP];
        for count in 1..=TILE {
            let stride = depth + random.below(3);
            let mut values = vec![f32::NAN; TILE * stride + 32];
            for i in 0..count {
                values[i * stride..][..depth].fill_with(|| random.unit());
            }
            let mut start = [[0.0; GROUP]; TILE];
            start.as_flattened_mut().fill_with(|| random.unit());
            let product = |level: Level,
                           first: usize,
                           many: usize,
                           from: usize,
                           to: usize,
                           sums: &mut product::Sums| {
                let vectors =
                    product::Vectors::new(&values[first * stride + from..], stride, many, to - from);
                simd::run(level, Product(&panel[from * GROUP..to * GROUP], vectors, sums));
            };
            let (mut got, mut want, mut parts) = (start, start, start);
            product(level, 0, count, 0, depth, &mut got);
            product(Level::SCALAR, 0, count, 0, depth, &mut want);
            let middle = random.below(depth + 1);
            product(level, 0, count, 0, middle, &mut parts);
            product(level, 0, count, middle, depth, &mut parts);
            let mut alone = start;
            alone[0] = start[count - 1];
            product(level, count - 1, 1, 0, depth, &mut alone);
            let held =
                got == want && got == parts && got[count - 1] == alone[0] && got[count..] == start[count..];
            tally.check(held, || format!("{} product {depth} × {count}: other bytes", level.name()));
            let near = (0..count).all(|i| {
                let vector = &values[i * stride..][..depth];
                columns.iter().zip(&got[i]).zip(&start[i]).all(|((column, &got), &start)| {
                    let bound =
                        2.0 * f64::from(f32::dot_error(depth + 1)) * (norm(column) * norm(vector) + 1.0);
                    (f64::from(got) - f64::from(start) - dot(column, vector)).abs() <= bound
                })
            });
            tally.check(near, || format!("{} product {depth} × {count}: far", level.name()));
        }
    }
}
