//! Row group × query tile with the values that pass: bit for bit those of sums taken one after another in f32, and of
//! fused multiply-adds on exact sums of codes.

use counterpoint_core::simd::{self, GROUP, Level, Simd, TILE, Work, f32, fastscan, int8, product};

use super::codes::Codes;
use super::floats::panel;
use super::{LARGEST, LONGEST, Random, Tally};

type Values = [[f32; GROUP]; TILE];

struct Scores<'a>(
    int8::Group<'a>,
    fastscan::RowTerms<'a>,
    &'a int8::Tile,
    &'a fastscan::QueryTerms,
    &'a mut Values,
);

impl Work for Scores<'_> {
    type Output = [u64; TILE];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [u64; TILE] {
        simd.int8_scores(self.0, self.1, self.2, self.3, self.4)
    }
}

fn check(level: Level, tally: &mut Tally, codes: &Codes, queries: &[Vec<i8>], random: &mut Random) {
    let dim = queries[0].len();
    let mut tile = int8::Tile::new(codes.bits, dim, [vec![-1; dim].as_slice(); TILE]);
    tile.refill(queries.iter().map(Vec::as_slice));
    let (mut scale, mut offset) = ([0.0; GROUP], [0.0; GROUP]);
    scale.fill_with(|| random.unit());
    offset.fill_with(|| random.unit());
    let mut terms = fastscan::QueryTerms::default();
    terms.alpha.fill_with(|| random.unit());
    terms.beta.fill_with(|| random.unit());
    let value = |i: usize, r: usize| {
        let sum = codes.sum(r, &queries[i]) as f32;
        scale[r].mul_add(terms.alpha[i].mul_add(sum, terms.beta[i]), offset[r])
    };
    let mut limits = [f32::NAN; TILE];
    for (i, limit) in limits.iter_mut().enumerate().take(queries.len()) {
        // A value, so that ties occur; nothing passes; all.
        *limit = [value(i, random.below(GROUP)), f32::INFINITY, f32::NEG_INFINITY][random.below(3)];
    }
    terms.limit = limits;
    let rows = fastscan::RowTerms { scale: &scale, offset: &offset };
    let mut values = [[f32::NAN; GROUP]; TILE];
    let masks = simd::run(level, Scores(codes.group(), rows, &tile, &terms, &mut values));
    for (i, mask) in masks.into_iter().enumerate().take(queries.len()) {
        let want: Vec<f32> = (0..GROUP).map(|r| value(i, r)).collect();
        let passes = (0..GROUP).map(|r| u64::from(want[r] >= limits[i]) << r).sum::<u64>();
        let same =
            mask == 0 || values[i].iter().zip(&want).all(|(got, want)| got.to_bits() == want.to_bits());
        tally.check(mask == passes && same, || {
            let (name, bits, count) = (level.name(), codes.bits, queries.len());
            format!("{name} {bits:?} {dim} × {count}, scores of query {i}: {mask:x}, not {passes:x}")
        });
    }
}

pub(super) fn scores(level: Level, tally: &mut Tally) {
    let mut random = Random(8);
    for bits in [int8::Bits::Four, int8::Bits::Eight] {
        for dim in 0..=LONGEST {
            let codes =
                Codes::new(bits, dim, &mut random, |random, _, _| random.bits() as u8 & bits.max_code());
            for count in 1..=TILE {
                let queries = random.many(count, |random| random.many(dim, |random| random.bits() as i8));
                check(level, tally, &codes, &queries, &mut random);
            }
        }
        for dim in [1023, LARGEST] {
            for code in [0, bits.max_code()] {
                let codes = Codes::new(bits, dim, &mut random, |_, _, _| code);
                check(level, tally, &codes, &[vec![-128; dim], vec![127; dim]], &mut random);
            }
        }
    }
    // A NaN survives, and only it.
    let bytes = vec![0; int8::group_bytes(int8::Bits::Four, 8)];
    let tile = int8::Tile::new(int8::Bits::Four, 8, [[1_i8; 8].as_slice(); TILE]);
    let mut offset = [0.0; GROUP];
    offset[7] = f32::NAN;
    let rows = fastscan::RowTerms { scale: &[1.0; GROUP], offset: &offset };
    let terms = fastscan::QueryTerms { limit: [f32::INFINITY; TILE], ..Default::default() };
    let group = int8::Group::new(int8::Bits::Four, &bytes);
    let masks = simd::run(level, Scores(group, rows, &tile, &terms, &mut [[0.0; GROUP]; TILE]));
    tally.check(masks == [1 << 7; TILE], || format!("{} scores, unordered: {masks:x?}", level.name()));
}

struct Floats<'a>(&'a f32::Panel, product::Vectors<'a>, &'a [f32; TILE], &'a mut Values);

impl Work for Floats<'_> {
    type Output = [u64; TILE];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [u64; TILE] {
        simd.f32_scores(self.0, self.1, self.2, self.3)
    }
}

/// Every dimension and number of vectors, between NaNs that a read beyond either end would bring in.
pub(super) fn float_scores(level: Level, tally: &mut Tally) {
    let mut random = Random(9);
    for dim in 0..=LONGEST {
        let (panel, rows) = panel(dim, &mut random, Random::unit);
        for count in 1..=TILE {
            let vectors = random.many(count, |random| random.many(dim, Random::unit));
            let guard = vec![f32::NAN; 1 + dim % 5];
            let mut values = guard.clone();
            vectors.iter().for_each(|vector| values.extend([vector, &guard[..]].concat()));
            let score = |i: usize, r: usize| {
                let sum = vectors[i].iter().zip(&rows[r]).fold(0.0_f32, |sum, (&v, &x)| {
                    if level == Level::SCALAR { sum + v * x } else { v.mul_add(x, sum) }
                });
                sum - panel.terms[r]
            };
            let mut limits = [f32::NAN; TILE];
            for (i, limit) in limits.iter_mut().enumerate().take(count) {
                // A score, so that ties occur; nothing passes; all; all.
                let limit_of = [score(i, random.below(GROUP)), f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
                *limit = limit_of[random.below(4)];
            }
            let tile = product::Vectors::new(&values[guard.len()..], dim + guard.len(), count, dim);
            let mut scores = [[f32::NAN; GROUP]; TILE];
            let masks = simd::run(level, Floats(&panel, tile, &limits, &mut scores));
            for (i, mask) in masks.into_iter().enumerate() {
                let (mut held, mut passes) = (true, 0);
                for r in (0..GROUP).filter(|_| i < count) {
                    held &= scores[i][r].to_bits() == score(i, r).to_bits();
                    passes |= u64::from(limits[i].is_nan() || score(i, r) >= limits[i]) << r;
                }
                tally.check(held && mask == passes, || {
                    format!(
                        "{} f32 scores {dim} × {count}, vector {i}: {mask:x}, not {passes:x}",
                        level.name()
                    )
                });
            }
        }
    }
}
