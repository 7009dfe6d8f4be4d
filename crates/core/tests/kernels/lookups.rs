//! The `lookups` family against sums in f64: nothing within the limit is out, nothing far above it is in; and the same
//! survivors as the scalar twin's.

use counterpoint_core::simd::int8::Bits;
use counterpoint_core::simd::lookups::{Tile, group_bytes, score, write_row};
use counterpoint_core::simd::{self, GROUP, Level, Simd, TILE, Work};

use super::{Random, Tally};

struct Survivors<'a>(&'a [u8], Option<&'a [f32; GROUP]>, &'a Tile, &'a [f32; TILE]);

impl Work for Survivors<'_> {
    type Output = [u64; TILE];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [u64; TILE] {
        simd.lookup_survivors(self.0, self.1, self.2, self.3)
    }
}

const BOTH: [Bits; 2] = [Bits::Four, Bits::Eight];

fn entries(bits: Bits) -> usize {
    usize::from(bits.max_code()) + 1
}

struct Case {
    bits: Bits,
    /// The group, between guards, at an odd address.
    guarded: Vec<u8>,
    codes: Vec<Vec<u8>>,
    tables: Vec<Vec<f32>>,
    terms: Option<[f32; GROUP]>,
}

impl Case {
    fn new(
        bits: Bits,
        stages: usize,
        queries: usize,
        random: &mut Random,
        mut value: impl FnMut(&mut Random, usize) -> f32,
    ) -> Self {
        let codes =
            random.many(GROUP, |random| random.many(stages, |random| random.below(entries(bits)) as u8));
        let tables = random.many(queries, |random| {
            (0..stages * entries(bits)).map(|i| value(random, i / entries(bits))).collect()
        });
        let mut case =
            Self { bits, guarded: vec![0xa5; group_bytes(bits, stages) + 129], codes, tables, terms: None };
        case.pack();
        case
    }

    fn stages(&self) -> usize {
        self.codes[0].len()
    }

    fn pack(&mut self) {
        let bytes = group_bytes(self.bits, self.stages());
        for (r, codes) in self.codes.iter().enumerate() {
            write_row(self.bits, &mut self.guarded[65..65 + bytes], r, codes);
        }
    }

    fn group(&self) -> &[u8] {
        &self.guarded[65..65 + group_bytes(self.bits, self.stages())]
    }

    /// V, and the sum of the magnitudes of its parts.
    fn value(&self, i: usize, r: usize) -> (f64, f64) {
        let parts = self.codes[r].iter().zip(self.tables[i].chunks_exact(entries(self.bits)));
        let parts = parts.map(|(&code, table)| f64::from(table[usize::from(code)]));
        let term = f64::from(self.terms.map_or(0.0, |terms| terms[r]));
        parts.fold((term, term.abs()), |(sum, size), part| (sum + part, size + part.abs()))
    }

    /// The widest table of a query.
    fn widest(&self, i: usize) -> f64 {
        let span = |table: &[f32]| {
            let (low, high) = table.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
            f64::from(high) - f64::from(low)
        };
        self.tables[i].chunks_exact(entries(self.bits)).map(span).fold(0.0, f64::max)
    }

    fn check(&self, level: Level, tally: &mut Tally, limits: &[f32; TILE], what: &str) {
        let tile = Tile::new(self.bits, self.tables.iter().map(Vec::as_slice));
        let got = simd::run(level, Survivors(self.group(), self.terms.as_ref(), &tile, limits));
        let same =
            got == simd::run(Level::SCALAR, Survivors(self.group(), self.terms.as_ref(), &tile, limits));
        let most =
            (65_535 / self.stages().max(1)).min(if self.bits == Bits::Eight { 255 } else { 127 }).max(1);
        let mut held = got[self.tables.len()..].iter().all(|&mask| mask == 0);
        for (i, &limit) in limits.iter().enumerate().take(self.tables.len()) {
            let slack = (self.stages() + 1) as f64 * self.widest(i) / most as f64;
            for r in 0..GROUP {
                let (value, size) = self.value(i, r);
                let rounding = (size + f64::from(limit.abs())) * (self.stages() + 8) as f64 / 1e6;
                let inside = got[i] >> r & 1 == 1;
                held &= inside || value > f64::from(limit);
                held &= !inside || !limit.is_finite() || value <= f64::from(limit) + slack + rounding;
            }
        }
        tally.check(same && held, || {
            let (stages, queries) = (self.stages(), self.tables.len());
            format!("{} lookups {:?} {stages} × {queries}, {what}: {same} {held}", level.name(), self.bits)
        });
    }
}

/// Every number of stages and queries, with terms and without.
pub(super) fn sums(level: Level, tally: &mut Tally) {
    let mut random = Random(31);
    for bits in BOTH {
        for stages in (0..=70).chain([128, 255, 256, 257, 258, 515, 516, 517, 1024]) {
            let queries = 1 + stages % TILE;
            let mut case =
                Case::new(bits, stages, queries, &mut random, |random, m| random.unit() * (1 + m % 3) as f32);
            for round in 0..6 {
                if round % 2 == 1 {
                    let mut terms = [0.0; GROUP];
                    terms.fill_with(|| 3.0 * random.unit());
                    case.terms = Some(terms);
                } else {
                    case.terms = None;
                }
                let mut limits = [f32::INFINITY; TILE];
                for (i, limit) in limits.iter_mut().enumerate().take(queries) {
                    // Values, so that ties occur; now and then all pass, or none.
                    *limit = match round {
                        0 => f32::INFINITY,
                        1 => f32::NEG_INFINITY,
                        _ => case.value(i, random.below(GROUP)).0 as f32,
                    };
                }
                case.check(level, tally, &limits, "random");
            }
            // What the caller sums is within a limit that is that sum.
            case.terms = None;
            for r in 0..GROUP {
                let mut limits = [f32::NEG_INFINITY; TILE];
                limits[0] = score(bits, case.group(), r, &case.tables[0]);
                let tile = Tile::new(bits, case.tables.iter().map(Vec::as_slice));
                let got = simd::run(level, Survivors(case.group(), None, &tile, &limits));
                tally.check(got[0] >> r & 1 == 1, || {
                    format!("{} lookups {stages}: row {r} is out", level.name())
                });
            }
        }
    }
}

/// What brings bytes and 16-bit sums closest to their ends, tables that are alike, and the longest rows.
pub(super) fn extremes(level: Level, tally: &mut Tally) {
    let mut random = Random(32);
    for bits in BOTH {
        for stages in [1, 2, 3, 256, 257, 258, 516, 4096, 65_535] {
            let last = bits.max_code();
            let queries = if stages > 1000 { 1 } else { TILE };
            let largest = |random: &mut Random, _| if random.below(2) == 0 { 1.0 } else { 0.0 };
            let mut case = Case::new(bits, stages, queries, &mut random, largest);
            for table in
                case.tables.iter_mut().flat_map(|tables| tables.chunks_exact_mut(usize::from(last) + 1))
            {
                (table[0], table[usize::from(last)]) = (0.0, 1.0);
            }
            for (r, codes) in case.codes.iter_mut().enumerate() {
                match r % 3 {
                    0 => codes.fill(0),
                    1 => codes.fill(last),
                    _ => {}
                }
            }
            case.pack();
            for limit in [-1.0, 0.0, 0.5 * stages as f32, stages as f32, 2.0 * stages as f32] {
                case.check(level, tally, &[limit; TILE], "extreme");
            }
            case.tables.iter_mut().for_each(|table| table.fill(0.25));
            for limit in [0.2, 0.25, 0.3] {
                case.check(level, tally, &[limit * stages as f32; TILE], "alike");
            }
        }
    }
}

/// What cannot be compared survives.
pub(super) fn unordered(level: Level, tally: &mut Tally) {
    let mut random = Random(33);
    for bits in BOTH {
        let mut case = Case::new(bits, 9, 3, &mut random, |random, _| random.unit());
        let tile = Tile::new(bits, case.tables.iter().map(Vec::as_slice));
        for terms in [None, Some([0.0; GROUP])] {
            case.terms = terms;
            let got =
                simd::run(level, Survivors(case.group(), case.terms.as_ref(), &tile, &[f32::NAN; TILE]));
            tally.check(got == [u64::MAX, u64::MAX, u64::MAX, 0, 0, 0], || {
                format!("{} a limit: {got:x?}", level.name())
            });
        }
        for r in 0..GROUP {
            let mut terms = [0.0; GROUP];
            terms[r] = f32::NAN;
            let got = simd::run(level, Survivors(case.group(), Some(&terms), &tile, &[-100.0; TILE]));
            tally.check(got[..3] == [1 << r; 3], || format!("{} a term: {got:x?}", level.name()));
        }
    }
}
