//! Linear maps of rows, bit-exact across levels.

use counterpoint_core::simd::{self, Level, Simd, Work};

use super::{LARGEST, Random, Tally};

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
