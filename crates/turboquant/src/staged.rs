//! Search in stages: all rows on their scanned bits, few on all bits.
//!
//! A row's *similarity* is a + w·⟨q', h⟩ ([`mod@crate::quantizer`]), and its distance A − ω·similarity.
//!
//! **Stage 1** sums the scanned bits against small integer weights ([`fastscan`]) for every row. With the unbiased
//! weights of the scanned bits, the sum differs from ⟨q', h⟩ by what the other bits say, of deviation
//! ε = √(Σ noiseⱼ·q'ⱼ²), and by what the small weights miss (known exactly). A row's *ceiling* is its stage-1
//! similarity plus w·[`SURE`]·ε; it is out when its ceiling is below the similarity of the k-th best row so far.
//!
//! **Stage 2**, where codes are alike in every dimension: the row's low planes, one after another in memory, are
//! summed against 8-bit weights. With the sign's sum, known from stage 1, and the best additive fit to the
//! codebook, that is nearly ⟨q', h⟩, and a narrower ceiling.
//!
//! **Stage 3** puts the code together and sums levels against the query in 16 bits, exact integers.
//!
//! **One outcome.** A row counts with the least of its ceilings and its exact similarity, so that "out" is exact,
//! not a matter of when the row was met: the k best under that measure are the same for any batch, order of rows
//! and number of threads. One row in hundreds is above a ceiling, by little; `exact_scan` leaves ceilings out.
//!
//! Candidates wait in a [`Shortlist`]; from time to time the most promising are scored to raise the bar for all.
//! Its length follows from the bar, not from k. The first bar comes from the most promising of a part of the rows,
//! scored before any other waits.

use counterpoint_core::metric::Metric;
use counterpoint_core::scan::{At, Groups, Masks, Scan};
use counterpoint_core::select::{Hit, TopK};
use counterpoint_core::simd::fastscan::{self, QueryTerms, Tile, Weights};
use counterpoint_core::simd::{GROUP, Simd, TILE, Work, int8, prefetch, run};
use counterpoint_core::table::Store;
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::InputError;

use crate::code::Code;
use crate::quantizer::{Quantizer, dot};
use crate::shortlist::{Candidate, Shortlist};
use crate::store::Codes;

/// Deviations that a ceiling is above the estimate: beyond it lies one in 390.
const SURE: f32 = 2.8;
/// The same where bits follow the data, whose axes are not scanned alike: near rows lose a little there.
const SURE_FITTED: f32 = 3.5;
/// Up to so many rows a query, the scanned bits of all rows are put together before the search: some 50 to 150 rows a
/// query are scored in full, and a row of a group costs several times as much to put together as one of 64.
const MANY: usize = 128;

/// One group in so many gives the first bar, those of the first chunk at most.
const SEED_PART: usize = 8;

/// A prepared query.
pub(crate) struct Query {
    /// A.
    pub(crate) base: f64,
    weights: Weights,
    /// What a ceiling adds to a stage-1 sum.
    band: f32,
    second: Option<Second>,
    pub(crate) exact: int8::Query,
    /// 128·(256·Σ`exact.high` + Σ`exact.low`).
    lift: i64,
}

/// Stage 2: ⟨q', h⟩ ≈ `sign`·(stage-1 sum) + `low`·Σcodes·weights + `rest`.
struct Second {
    weights: Vec<i8>,
    /// Bits of each low plane.
    spans: Vec<usize>,
    sign: f32,
    low: f32,
    rest: f32,
    /// What a ceiling adds.
    band: f32,
}

/// √(a² + b² + c²) of parts of an error that do not depend on each other.
fn together(parts: [f32; 3]) -> f32 {
    parts.iter().map(|v| v * v).sum::<f32>().sqrt()
}

impl Second {
    /// For codes of one kind whose sign alone is scanned.
    #[inline(always)]
    fn new(quantizer: &Quantizer, rotated: &[f32], scan_error: f32) -> Option<Self> {
        let [segment] = quantizer.segments.as_slice() else { return None };
        let Code::Scalar(book) = &segment.code else { return None };
        let bits = book.bits();
        if segment.scanned != 1 || bits < 2 {
            return None;
        }
        let fit = &segment.binary;
        let step = int8::largest(rotated) / 127.0;
        let inverse = if step > 1e-30 { 1.0 / step } else { 0.0 };
        let weights: Vec<i8> = rotated.iter().map(|v| round(v * inverse)).collect();
        let missed: Vec<f32> = rotated.iter().zip(&weights).map(|(v, &w)| v - step * f32::from(w)).collect();
        let (missed, length) = (dot(&missed, &missed).sqrt(), dot(rotated, rotated).sqrt());
        // Codes of b − 1 bits, evenly spread: their deviation, in steps of the fit.
        let spread = ((f32::from(1_u16 << (2 * (bits - 1))) - 1.0) / 12.0).sqrt();
        let sign = fit.sign / segment.worth.first().copied().unwrap_or(1.0);
        let error = [fit.noise.sqrt() * length, sign * scan_error, 2.0 * fit.low * missed * spread];
        let sum: f32 = rotated.iter().sum();
        Some(Self {
            sign,
            low: 2.0 * fit.low * step,
            rest: -fit.low * (f32::from(1_u16 << (bits - 1)) - 1.0) * sum,
            band: SURE * together(error),
            spans: vec![rotated.len(); bits as usize - 1],
            weights,
        })
    }
}

/// Half away from zero, in a form that vectorises.
#[inline(always)]
fn round(value: f32) -> i8 {
    let value = value.clamp(-127.0, 127.0);
    let whole = value.trunc();
    let rest = value - whole;
    whole as i8 + i8::from(rest >= 0.5) - i8::from(rest <= -0.5)
}

/// Room for one row's code.
pub(crate) struct Scratch {
    scan: Vec<u8>,
    pub(crate) codes: Vec<u8>,
    pub(crate) narrowed: Vec<Candidate>,
}

/// What a thread holds of the groups it is at.
pub(crate) struct Chunk {
    indices: Vec<usize>,
    /// Rows that a query of the tile at hand has met already.
    met: [[u64; Staged::CHUNK]; TILE],
    any_met: bool,
    values: [[f32; GROUP]; TILE],
    scratch: Scratch,
}

/// Up to [`TILE`] queries.
pub(crate) struct QueryTile {
    tile: Tile,
    terms: QueryTerms,
}

impl Codes {
    pub(crate) fn omega(&self) -> f64 {
        if self.metric == Metric::L2 { 2.0 } else { 1.0 }
    }

    pub(crate) fn scratch(&self) -> Scratch {
        let (bits, padded) = self.quantizer().map_or((0, 0), |q| (q.scan_bits(), q.padded()));
        Scratch { scan: vec![0; bits / 8], codes: vec![0; padded], narrowed: Vec::new() }
    }

    #[inline(always)]
    pub(crate) fn prepare<S: Simd>(
        &self,
        simd: S,
        values: &mut [f32],
        index: usize,
    ) -> Result<Query, InputError> {
        self.metric.prepare(values, index)?;
        let Some(quantizer) = self.quantizer() else {
            let (weights, exact) = (Weights::new(&[]), int8::Query::new(&[]));
            return Ok(Query { base: 0.0, weights, band: 0.0, second: None, exact, lift: 0 });
        };
        let (base, mut rotated) = quantizer.query(simd, values);
        let mut scan = Vec::with_capacity(quantizer.scan_bits());
        let mut noise = 0.0_f32;
        for segment in &quantizer.segments {
            let part = &mut rotated[segment.dims.clone()];
            part.iter_mut().for_each(|value| *value *= segment.deviation);
            for worth in &segment.worth {
                scan.extend(part.iter().map(|value| value * worth));
            }
            noise += segment.noise * dot(part, part);
        }
        let weights = Weights::new(&scan);
        let sure = if quantizer.shares.is_empty() { SURE } else { SURE_FITTED };
        let band = sure * together([noise.sqrt(), weights.error, 0.0]);
        let second = Second::new(quantizer, &rotated, weights.error);
        // Dimensions without bits have no levels.
        let mut exact = vec![0.0; rotated.len()];
        for segment in &quantizer.segments {
            let (to, from) = (&mut exact[segment.dims.clone()], &rotated[segment.dims.clone()]);
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from * segment.code.unit());
        }
        let exact = int8::Query::new(&exact);
        let high: i32 = exact.high.iter().map(|&v| i32::from(v)).sum();
        let lift = 128 * (256 * i64::from(high) + i64::from(exact.low_sum));
        Ok(Query { base, weights, band, second, exact, lift })
    }

    /// Puts a row's codes together, in `scratch`.
    #[inline(always)]
    pub(crate) fn unpack<S: Simd>(&self, simd: S, quantizer: &Quantizer, row: usize, scratch: &mut Scratch) {
        let Scratch { scan, codes, .. } = scratch;
        fastscan::read_row(self.scan_group(row / GROUP), row % GROUP, scan);
        quantizer.codes(simd, scan, self.low_row(row), codes);
    }

    /// ⟨q', h⟩ of a row, from all its bits. `scan` are those of the scan.
    #[inline(always)]
    fn sum<S: Simd>(&self, simd: S, quantizer: &Quantizer, query: &Query, row: usize, scan: &[u8]) -> f64 {
        let (mut scan, mut low_planes) = (scan, self.low_row(row));
        let mut sum = -query.lift;
        for segment in &quantizer.segments {
            let codes = segment.planes(&mut scan, &mut low_planes);
            let (high, low) =
                (&query.exact.high[segment.dims.clone()], &query.exact.low[segment.dims.clone()]);
            let [high, low] = simd.planes_dots(codes, &segment.tables, high, low);
            sum += 256 * i64::from(high) + i64::from(low);
        }
        f64::from(query.exact.step) * sum as f64
    }

    /// The distance of a row for which ⟨q', h⟩ is `sum`.
    #[inline(always)]
    pub(crate) fn distance(&self, query: &Query, row: usize, sum: f64) -> f32 {
        let (scale, offset) = self.constants(row);
        self.distance_at(query, f64::from(offset) + f64::from(scale) * sum)
    }

    /// The distance at a similarity.
    #[inline(always)]
    fn distance_at(&self, query: &Query, similarity: f64) -> f32 {
        self.metric.clamp((query.base - self.omega() * similarity) as f32)
    }

    /// The distance of a row by all its bits.
    #[inline(always)]
    pub(crate) fn full_distance<S: Simd>(
        &self,
        simd: S,
        query: &Query,
        row: usize,
        scratch: &mut Scratch,
    ) -> f32 {
        let Some(quantizer) = self.quantizer() else { return f32::INFINITY };
        fastscan::read_row(self.scan_group(row / GROUP), row % GROUP, &mut scratch.scan);
        self.distance(query, row, self.sum(simd, quantizer, query, row, &scratch.scan))
    }
}

/// All rows of an index, in stages.
pub(crate) struct Staged<'a> {
    codes: &'a Codes,
    /// Row after row of scanned bits, for many queries; or nothing.
    scanned: Vec<u8>,
}

impl<'a> Staged<'a> {
    /// For so many queries, each of which may return the rows of `masks`.
    pub(crate) fn new(codes: &'a Codes, queries: usize, masks: &Masks, control: &Control) -> Self {
        let (rows, mut scanned) = (Store::len(codes), Vec::new());
        if let Some(quantizer) = codes.quantizer()
            && rows <= queries.saturating_mul(MANY)
            && rows <= 4 * masks.widest(rows)
        {
            let bytes = quantizer.scan_bits() / 8;
            scanned.resize(rows.next_multiple_of(GROUP) * bytes, 0);
            run(control.level(), Gather { codes, bytes, scanned: &mut scanned });
        }
        Self { codes, scanned }
    }

    #[inline(always)]
    fn low_row(&self, row: usize) -> &[u8] {
        self.codes.low_row(row)
    }

    /// Row after row of scanned bits, if there is such a table.
    #[inline(always)]
    fn scanned_row(&self, row: usize, bytes: usize) -> Option<&[u8]> {
        self.scanned.get(row * bytes..(row + 1) * bytes)
    }

    /// Asks for what a row's bits are put together from.
    #[inline(always)]
    pub(crate) fn prefetch(&self, row: usize, scratch: &Scratch) {
        prefetch(self.low_row(row));
        self.scanned_row(row, scratch.scan.len()).into_iter().for_each(prefetch);
    }

    /// The least similarity of a row at most `bound` far, lowered by the rounding of these few f32 operations.
    #[inline(always)]
    pub(crate) fn limit(&self, query: &Query, bound: f32) -> f32 {
        let (base, omega) = (query.base as f32, self.codes.omega() as f32);
        (base - bound) / omega - (base.abs() + bound.abs()) * (1.0 / 1_048_576.0)
    }

    /// A candidate under the lower of its ceilings.
    #[inline(always)]
    pub(crate) fn narrow<S: Simd>(&self, simd: S, query: &Query, candidate: Candidate) -> Candidate {
        let Some(second) = &query.second else { return candidate };
        let (row, ceiling) = (candidate.row(), candidate.ceiling());
        let (scale, offset) = self.codes.constants(row);
        if scale > 0.0 {
            let low = simd.planes_sum(self.low_row(row), &second.spans, &second.weights);
            let sign = (ceiling - offset) / scale - query.band;
            let sum = second.sign * sign + (second.low * low as f32 + second.rest);
            return Candidate::new(ceiling.min(offset + scale * (sum + second.band)), row);
        }
        candidate
    }

    /// Offers a candidate to `best`, at most as near as its ceiling.
    #[inline(always)]
    pub(crate) fn score_one<S: Simd>(
        &self,
        simd: S,
        query: &Query,
        candidate: Candidate,
        best: &mut TopK,
        scratch: &mut Scratch,
    ) {
        let Some(quantizer) = self.codes.quantizer() else { return };
        let row = candidate.row();
        let scan = match self.scanned_row(row, scratch.scan.len()) {
            Some(scan) => scan,
            None => {
                fastscan::read_row(self.codes.scan_group(row / GROUP), row % GROUP, &mut scratch.scan);
                &scratch.scan
            }
        };
        let sum = self.codes.sum(simd, quantizer, query, row, scan);
        let (scale, offset) = self.codes.constants(row);
        let exact = f64::from(offset) + f64::from(scale) * sum;
        let distance = self.codes.distance_at(query, exact.min(f64::from(candidate.ceiling())));
        best.push(Hit { distance, row: row as u32 });
    }
}

/// Puts the scanned bits of all rows together, row after row of so many bytes.
struct Gather<'a> {
    codes: &'a Codes,
    bytes: usize,
    scanned: &'a mut [u8],
}

impl Work for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let groups = self.scanned.chunks_exact_mut((GROUP * self.bytes).max(1));
        for (group, rows) in groups.enumerate() {
            fastscan::read_rows(self.codes.scan_group(group), rows);
        }
    }
}

impl Scan for Staged<'_> {
    type Query = Query;
    type Tile = QueryTile;
    type Chunk = Chunk;
    type Top = Shortlist;

    /// A block of 64 rows costs less than one row of all bits.
    const SPARSE: u32 = 0;
    /// A tile's tables fill the nearest cache (at d = 384): a chunk of groups is read from the next.
    const CHUNK: usize = 32;
    /// What a batch holds (at d = 384, 4 KiB of tables a query) stays in the second cache beside the chunk.
    const BATCH: usize = 16 * TILE;

    fn rows(&self) -> usize {
        Store::len(self.codes)
    }

    #[inline(always)]
    fn query<S: Simd>(&self, simd: S, values: &mut [f32], index: usize) -> Result<Query, InputError> {
        self.codes.prepare(simd, values, index)
    }

    #[inline(always)]
    fn tile<S: Simd>(&self, _: S, queries: &[Query]) -> QueryTile {
        let mut terms = QueryTerms::default();
        for (i, query) in queries.iter().enumerate() {
            // Σ w·(±1) = 2·agreement − total.
            terms.alpha[i] = 2.0 * query.weights.step;
            terms.beta[i] = query.band - query.weights.step * query.weights.total as f32;
        }
        QueryTile { tile: Tile::new(S::TABLES, queries.iter().map(|query| &query.weights)), terms }
    }

    fn chunk(&self, _: usize) -> Chunk {
        let met = [[0; Self::CHUNK]; TILE];
        Chunk {
            indices: vec![0; Self::CHUNK],
            met,
            any_met: false,
            values: [[0.0; GROUP]; TILE],
            scratch: self.codes.scratch(),
        }
    }

    fn top(&self, k: usize) -> Shortlist {
        Shortlist::new(k)
    }

    #[inline(always)]
    fn enter<S: Simd>(&self, _: S, chunk: &mut Chunk, slot: usize, index: usize) {
        chunk.indices[slot] = index;
    }

    /// The first rows of all: those of the highest ceilings are scored before any other, for a bar that keeps most of
    /// the others out from the start.
    #[inline(always)]
    fn begin<S: Simd>(
        &self,
        simd: S,
        chunk: &mut Chunk,
        groups: Groups<'_>,
        tile: &QueryTile,
        queries: &[Query],
        tops: &mut [Shortlist],
    ) {
        let Groups { first, allowed } = groups;
        if std::mem::take(&mut chunk.any_met) {
            chunk.met = [[0; Self::CHUNK]; TILE];
        }
        let groups = allowed.len().min(self.rows() / GROUP / SEED_PART);
        let rows: usize = allowed[..groups].iter().map(|rows| rows.count_ones() as usize).sum();
        if tops.iter().any(|top| !top.is_new() || rows < 16 * top.step()) {
            return;
        }
        let mut bounds = [f32::NEG_INFINITY; TILE];
        for (slot, &allowed) in allowed[..groups].iter().enumerate().filter(|&(_, &allowed)| allowed != 0) {
            let masks = self.survivors(simd, chunk, slot, tile, queries, &bounds);
            for (i, top) in tops.iter_mut().enumerate() {
                let least = top.sow(masks[i] & allowed, &chunk.values[i], (first + slot) * GROUP);
                bounds[i] = bounds[i].max(least);
            }
        }
        let Chunk { met, scratch, .. } = chunk;
        for ((top, query), met) in tops.iter_mut().zip(queries).zip(met) {
            top.reap(simd, self, query, scratch, |row| met[row / GROUP - first] |= 1 << (row % GROUP));
        }
        chunk.any_met = true;
    }

    #[inline(always)]
    fn survivors<S: Simd>(
        &self,
        simd: S,
        chunk: &mut Chunk,
        slot: usize,
        tile: &QueryTile,
        _: &[Query],
        bounds: &[f32; TILE],
    ) -> [u64; TILE] {
        let terms = QueryTerms { limit: *bounds, ..tile.terms };
        let index = chunk.indices[slot];
        let (group, rows) = (self.codes.scan_group(index), self.codes.terms(index));
        simd.fastscan_survivors(group, rows, &tile.tile, &terms, &mut chunk.values)
    }

    #[inline(always)]
    fn score<S: Simd>(
        &self,
        simd: S,
        chunk: &mut Chunk,
        at: At,
        query: &Query,
        mask: u64,
        top: &mut Shortlist,
    ) {
        let first = chunk.indices[at.slot] * GROUP;
        let mask = mask & !chunk.met[at.place][at.slot];
        if top.wait(mask, &chunk.values[at.place], first) {
            top.settle(simd, self, query, false, &mut chunk.scratch);
        }
    }

    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, chunk: &mut Chunk, query: &Query, mut top: Shortlist) -> Vec<Hit> {
        // The best first, for a bar that keeps most of the others out.
        top.settle(simd, self, query, false, &mut chunk.scratch);
        top.settle(simd, self, query, true, &mut chunk.scratch);
        top.into_best().into_sorted()
    }
}
