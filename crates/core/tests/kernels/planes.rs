//! The `planes` family against oracles in i64, between guards that a read or write beyond either end would reach.

use counterpoint_core::simd::{self, Level, Simd, Work, planes};

use super::{LARGEST, LONGEST, Random, Tally};

struct Sum<'a>(&'a [u8], &'a [usize], &'a [i8]);

impl Work for Sum<'_> {
    type Output = i32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> i32 {
        simd.planes_sum(self.0, self.1, self.2)
    }
}

struct Expand<'a>(&'a [u8], u32, &'a mut [u8]);

impl Work for Expand<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        simd.planes_expand(self.0, self.1, self.2);
    }
}

struct Dots<'a>(planes::Codes<'a>, &'a [[u8; planes::LEVELS]], &'a [i8], &'a [i8]);

impl Work for Dots<'_> {
    type Output = [i32; 2];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [i32; 2] {
        simd.planes_dots(self.0, self.1, self.2, self.3)
    }
}

fn bit(bits: &[u8], j: usize) -> i64 {
    i64::from(bits[j / 8] >> (j % 8) & 1)
}

/// The sum of `planes`, found between `guard` bytes, at an odd address.
fn sum(level: Level, tally: &mut Tally, planes: &[u8], spans: &[usize], weights: &[i8], what: &str) {
    let (mut want, mut first) = (0, 0);
    for (p, &span) in spans.iter().enumerate() {
        let plane = &planes[first..][..span / 8];
        let sum: i64 = (0..span).map(|j| bit(plane, j) * i64::from(weights[j])).sum();
        want += sum << (spans.len() - 1 - p);
        first += span / 8;
    }
    let guarded = [&[0xff; 1], planes, &[0xff; 64]].concat();
    let guarded_weights = [&[127; 3], weights, &[127; 64]].concat();
    let (planes, weights) = (&guarded[1..][..planes.len()], &guarded_weights[3..][..weights.len()]);
    let got = i64::from(simd::run(level, Sum(planes, spans, weights)));
    tally.check(got == want, || format!("{} sum of {spans:?}, {what}: {got}, not {want}", level.name()));
}

pub(super) fn sums(level: Level, tally: &mut Tally) {
    let mut random = Random(6);
    for count in 0..=planes::MAX_PLANES {
        for longest in 0..=LONGEST / planes::STEP + 8 {
            for shape in 0..6 {
                // All equal; then any that do not grow.
                let mut steps = vec![longest; count];
                if shape > 0 {
                    steps.fill_with(|| random.below(longest + 1));
                    steps.sort_unstable_by(|a, b| b.cmp(a));
                }
                let spans: Vec<usize> = steps.iter().map(|&steps| steps * planes::STEP).collect();
                let bytes = random.many(planes::row_bytes(&spans), |random| random.bits() as u8);
                let spare = random.below(40);
                let weights = random.many(spans.first().unwrap_or(&0) + spare, |random| random.bits() as i8);
                sum(level, tally, &bytes, &spans, &weights, "random");
            }
        }
    }
    // Where 16 and 32 bits end.
    for count in 1..=planes::MAX_PLANES {
        for span in [32, 64, 96, 1024, LARGEST - planes::STEP, LARGEST] {
            let spans = vec![span; count];
            for bits in [0xff, 0x55, 0xaa] {
                let bytes = vec![bits; planes::row_bytes(&spans)];
                for pair in [[-128, -128], [127, 127], [-128, 127], [127, 0]] {
                    let weights: Vec<i8> = (0..span).map(|j| pair[j % 2]).collect();
                    sum(level, tally, &bytes, &spans, &weights, "extreme");
                }
            }
        }
    }
}

pub(super) fn expansions(level: Level, tally: &mut Tally) {
    let mut random = Random(7);
    for len in (0..=LONGEST + 8).chain([1000, 4097]) {
        for shift in 0..8 {
            let (before, spare) = (random.below(8), random.below(10));
            let bits = random.many(len.div_ceil(8) + spare, |random| random.bits() as u8);
            let mut codes = random.many(before + len + 64, |random| random.bits() as u8);
            let mut want = codes.clone();
            for (j, code) in want[before..][..len].iter_mut().enumerate() {
                *code |= (bit(&bits, j) as u8) << shift;
            }
            simd::run(level, Expand(&bits, shift, &mut codes[before..][..len]));
            tally.check(codes == want, || format!("{} expansion of {len} bits by {shift}", level.name()));
        }
    }
}

/// The dots of `runs` runs of `run` dimensions, between guards.
fn dot(
    level: Level,
    tally: &mut Tally,
    [run, tops, lows]: [usize; 3],
    tables: &[[u8; 64]],
    mut byte: impl FnMut() -> u8,
    query: [&[i8]; 2],
    what: &str,
) {
    let dims = run * tables.len();
    let mut guarded = |bytes: usize| {
        let planes: Vec<u8> = (0..bytes).map(|_| byte()).collect();
        [&[0xff; 1], planes.as_slice(), &[0xff; 64]].concat()
    };
    let (top, low) = (guarded(tops * dims / 8), guarded(lows * run / 8));
    let (top, low) = (&top[1..][..tops * dims / 8], &low[1..][..lows * run / 8]);
    let mut want = [0; 2];
    for j in 0..dims {
        let code = (0..tops).fold(0, |code, p| 2 * code + bit(&top[p * dims / 8..], j));
        let code = (0..lows).fold(code, |code, p| 2 * code + bit(&low[p * run / 8..], j % run));
        for (want, plane) in want.iter_mut().zip(query) {
            *want += i64::from(tables[j / run][code as usize]) * i64::from(plane[j]);
        }
    }
    let planes = query.map(|plane| [&[127; 3], plane, &[127; 64]].concat());
    let codes = planes::Codes { top, tops, low, lows, run };
    let work = Dots(codes, tables, &planes[0][3..][..dims], &planes[1][3..][..dims]);
    let got = simd::run(level, work).map(i64::from);
    tally.check(got == want, || {
        let shape = format!("{} runs of {run}, planes {tops} + {lows}", tables.len());
        format!("{} levels of {shape}, {what}: {got:?}, not {want:?}", level.name())
    });
}

pub(super) fn levels(level: Level, tally: &mut Tally) {
    let mut random = Random(8);
    for run in (0..=LONGEST + 8).step_by(8).chain([1000, 4096]) {
        for (tops, lows) in (0..=6).flat_map(|tops| (0..=6 - tops).map(move |lows| (tops, lows))) {
            for count in [0, 1, 2, 4] {
                let tables = random.many(count, |random| {
                    let mut table = [0; 64];
                    table.fill_with(|| random.bits() as u8);
                    table
                });
                let query = random.many(2, |random| random.many(run * count, |random| random.bits() as i8));
                let byte = || random.bits() as u8;
                dot(level, tally, [run, tops, lows], &tables, byte, [&query[0], &query[1]], "random");
            }
        }
    }
    for run in [8, 64, 72, LARGEST - 8, LARGEST] {
        for table in [[0; 64], [255; 64], std::array::from_fn(|k| if k % 2 == 0 { 0 } else { 255 })] {
            let query = [vec![-128; run], vec![127; run]];
            dot(level, tally, [run, 1, 3], &[table], || 0x5a, [&query[0], &query[1]], "extreme");
        }
    }
}
