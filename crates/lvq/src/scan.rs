//! Distances from integer sums.
//!
//! **One form.** With x̂ = μ + s·c + b and e = x̂ − x, a row's distance from q is
//!
//! ```text
//! D = A + C − w·(s·⟨q', c⟩ + b·Σq')
//! l2:      q' = q − μ   A = ‖q'‖²        C = ‖x̂ − μ‖² − ‖e‖²   w = 2
//! ip:      q' = q       A = −⟨q, μ⟩      C = 0                  w = 1
//! cosine:  q' = q       A = 1 − ⟨q, μ⟩   C = 0                  w = 1
//! ```
//!
//! (s, b and C are of x' = 2ᵖ·(x − μ), see [`mod@crate::space`]: w is w·2⁻ᵖ and C is C·4⁻ᵖ where p is not 0.) The ‖e‖² that
//! l2 takes off makes D = ‖q − x‖² − 2⟨q − x, e⟩, which is unbiased and the more precise the nearer x is: a stored vector
//! is at 0 from itself.
//!
//! and q' ≈ step·(256·h + l) in two signed 8-bit planes ([`int8::Query`]), so ⟨q', c⟩ = step·(256·⟨h, c⟩ + ⟨l, c⟩)
//! up to half a step a dimension: 2⁻¹⁶ of the query's largest value. Sums are exact integers and D is put
//! together in f64, so distances are the same on every level.
//!
//! **Pruning.** The scan multiplies only h. With m = (2ᴮ−1)/2, ⟨l, c⟩ = m·Σl + ⟨l, c − m⟩ and, by
//! Cauchy-Schwarz, s·|⟨l, c − m⟩| ≤ ‖l‖·radius, radius being the largest s·‖c − m‖ of the group. A row with
//! D ≤ bound then has
//!
//! ```text
//! s·(256·step·⟨h, c⟩ + step·m·Σl) + b·Σq' − C/w ≥ (A − bound)/w − step·‖l‖·radius
//! ```
//!
//! which is the kernel's threshold, lowered by 2⁻²⁰ of the largest terms for its f32 arithmetic. No row that
//! belongs to the answer is pruned: the two planes give what scoring every row with both would give.
//!
//! **Two levels.** A residual code makes s·c + b to r·C + (b − s/2) with C = m·c + c2, m = 2ᴮ² − 1 and r = s/m, so
//! ⟨q', C⟩ = m·⟨q', c⟩ + ⟨q', c2⟩: a candidate keeps its sum ⟨q', c⟩, and its second distance reads its residual code and
//! constants only. The candidates are those of least primary distance; `rerank` is how many.

use std::cmp::Ordering;

use counterpoint_core::index::{SearchError, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::rerank::reranked;
use counterpoint_core::scan::{self, At, Hits, Masks, Scan, rows_of};
use counterpoint_core::select::{Hit, Ranked, TopK};
use counterpoint_core::simd::int8::{self, Planes, QUARTER, QueryTerms, RowTerms, Tile};
use counterpoint_core::simd::{GROUP, Simd, TILE};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{InputError, Keep, RowSource};
use half::slice::HalfFloatSliceExt;

use crate::residual::Residual;
use crate::space::Space;
use crate::store::Codes;

/// Candidates between the one that is scored again and the one that is asked for.
const AHEAD: usize = 8;

/// Searches, and scores candidates again: on kept vectors where there are any, else by the residual where there is one.
/// Where there are both, the residual orders the candidates from which those for the vectors are taken.
pub(crate) fn search(
    codes: &Codes,
    queries: &dyn RowSource,
    options: &SearchOptions<'_>,
    masks: &Masks,
    control: &Control,
) -> Result<Hits, SearchError> {
    let default = default_rerank(codes.primary(), options.k);
    let (rescored, exact) = match (&codes.residual, codes.keep()) {
        (None, _) => (0, default),
        (Some(_), Keep::None) => (options.rerank.unwrap_or(default), 0),
        (Some(_), _) => (default, default_rerank(8, options.k)),
    };
    reranked(&codes.kept, codes.metric, queries, options, exact, control, |wanted| {
        let scanned = Scanned { codes, residual: codes.residual.as_ref().filter(|_| rescored > 0) };
        let mut hits = scan::search(&scanned, queries, wanted.max(rescored), masks, control)?;
        hits.iter_mut().for_each(|hits| hits.truncate(wanted));
        Ok(hits)
    })
}

/// Candidates scored again where the caller does not say: at k = 10 these, scored exactly, bring recall@10 to 0.9999
/// (4 bits) and 1.0000 (8 bits) on wordnet-minilm, to 1.0000 on Fashion-MNIST (queries 1,000 and up, f16 kept).
fn default_rerank(primary: usize, k: usize) -> usize {
    let few = k.saturating_add(5);
    if primary == 4 { few.saturating_add(k) } else { few }
}

/// The rows as one search scans them.
struct Scanned<'a> {
    codes: &'a Codes,
    /// Scores candidates again, if there.
    residual: Option<&'a Residual>,
}

/// A hit, and what its second distance is made from.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    hit: Hit,
    /// 256·⟨h, c⟩ + ⟨l, c⟩.
    sum: i64,
}

impl Ord for Candidate {
    #[inline(always)]
    fn cmp(&self, other: &Self) -> Ordering {
        self.hit.cmp(&other.hit)
    }
}

impl PartialOrd for Candidate {
    #[inline(always)]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.hit == other.hit
    }
}

impl Eq for Candidate {}

impl Ranked for Candidate {
    #[inline(always)]
    fn distance(&self) -> f32 {
        self.hit.distance
    }
}

/// A prepared query.
struct Query {
    values: int8::Query,
    planes: Planes,
    /// A.
    base: f64,
    /// Σq'.
    sum: f64,
    /// Σ|q'|.
    magnitude: f32,
}

/// The group a thread is at.
struct Group {
    index: usize,
    rows: RowTerms,
    /// The largest of the rows' terms, in magnitude.
    scale: f32,
    bias: f32,
    offset: f32,
}

/// Up to [`TILE`] queries: their high planes, and what their thresholds are made of.
struct QueryTile {
    high: Tile,
    /// All but the limits.
    terms: QueryTerms,
    /// A/w.
    base: [f32; TILE],
    /// step·‖l‖.
    reach: [f32; TILE],
    /// Σ|q'|, times the largest code.
    magnitude: [f32; TILE],
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, value| most.max(value.abs()))
}

impl Codes {
    fn unit(&self) -> f64 {
        self.space.as_ref().map_or(1.0, Space::unit)
    }

    fn weight(&self) -> f64 {
        if self.metric == Metric::L2 { 2.0 * self.unit() } else { self.unit() }
    }

    /// D of values step·⟨q', codes⟩ + start·Σq', with C/w.
    #[inline(always)]
    fn distance(&self, query: &Query, [step, start, offset]: [f64; 3], sum: i64) -> f32 {
        let product = step * (f64::from(query.values.step) * sum as f64) + start * query.sum;
        self.metric.clamp((query.base - self.weight() * (product - offset)) as f32)
    }

    /// The distance of a candidate's both codes.
    #[inline(always)]
    fn rescored<S: Simd>(&self, simd: S, query: &Query, residual: &Residual, candidate: Candidate) -> Hit {
        let row = candidate.hit.row as usize;
        let (group, r) = (self.groups.at(row / GROUP), row % GROUP);
        let (s, b) = (group.scale[r].to_f64(), group.bias[r].to_f64());
        let (bits, values) = (residual.bits(), &query.values);
        let [high, low] = simd.rows_dots(bits, residual.row(row), &values.high, &values.low);
        let finer = i64::from(bits.max_code());
        let sum = finer * candidate.sum + (256 * i64::from(high) + i64::from(low));
        let offset = 0.5 * f64::from(residual.square(row)) * self.unit();
        let distance = self.distance(query, [s / finer as f64, b - s / 2.0, offset], sum);
        Hit { distance, row: candidate.hit.row }
    }
}

impl Scan for Scanned<'_> {
    type Query = Query;
    type Tile = QueryTile;
    type Chunk = Group;
    type Top = TopK<Candidate>;

    /// A block of 64 rows costs what one or two rows cost one by one, with both planes of the query.
    const SPARSE: u32 = 1;

    fn rows(&self) -> usize {
        self.codes.groups.rows()
    }

    #[inline(always)]
    fn query<S: Simd>(&self, _: S, values: &mut [f32], index: usize) -> Result<Query, InputError> {
        let codes = self.codes;
        codes.metric.prepare(values, index)?;
        let mean = codes.space.as_ref().map_or(&[][..], Space::mean);
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let base = match codes.metric {
            Metric::L2 => {
                values.iter_mut().zip(mean).for_each(|(value, mean)| *value -= mean);
                dot(values, values)
            }
            Metric::Ip => -dot(values, mean),
            Metric::Cosine => 1.0 - dot(values, mean),
        };
        let sum = values.iter().map(|&v| f64::from(v)).sum();
        let magnitude = values.iter().map(|v| v.abs()).sum();
        let values = int8::Query::new(values);
        let planes = Planes::new(codes.groups.bits(), &values.high, &values.low);
        Ok(Query { planes, values, base, sum, magnitude })
    }

    fn tile<S: Simd>(&self, _: S, queries: &[Query]) -> QueryTile {
        let planes = queries.iter().map(|query| query.values.high.as_slice());
        let (bits, weight) = (self.codes.groups.bits(), self.codes.weight());
        let mut tile = QueryTile {
            high: Tile::new(bits, self.codes.dimension(), planes),
            terms: QueryTerms::default(),
            base: [0.0; TILE],
            reach: [0.0; TILE],
            magnitude: [0.0; TILE],
        };
        let max_code = f32::from(bits.max_code());
        for (i, query) in queries.iter().enumerate() {
            let step = query.values.step;
            tile.terms.alpha[i] = 256.0 * step;
            tile.terms.beta[i] = step * (0.5 * max_code) * query.values.low_sum as f32;
            tile.terms.gamma[i] = query.sum as f32;
            tile.base[i] = (query.base / weight) as f32;
            tile.reach[i] = step * query.values.low_norm;
            tile.magnitude[i] = query.magnitude * max_code;
        }
        tile
    }

    fn chunk(&self, _: usize) -> Group {
        let rows = RowTerms { scale: [0.0; GROUP], bias: [0.0; GROUP], offset: [0.0; GROUP] };
        Group { index: 0, rows, scale: 0.0, bias: 0.0, offset: 0.0 }
    }

    fn top(&self, k: usize) -> TopK<Candidate> {
        TopK::new(k)
    }

    #[inline(always)]
    fn enter<S: Simd>(&self, _: S, group: &mut Group, _: usize, index: usize) {
        let codes = self.codes.groups.at(index);
        let half = (0.5 * self.codes.unit()) as f32;
        codes.scale.convert_to_f32_slice(&mut group.rows.scale);
        codes.bias.convert_to_f32_slice(&mut group.rows.bias);
        for (offset, &square) in group.rows.offset.iter_mut().zip(codes.square) {
            *offset = half * square;
        }
        group.index = index;
        group.scale = largest(&group.rows.scale);
        group.bias = largest(&group.rows.bias);
        group.offset = largest(&group.rows.offset);
    }

    #[inline(always)]
    fn survivors<S: Simd>(
        &self,
        simd: S,
        group: &mut Group,
        _: usize,
        tile: &QueryTile,
        _: &[Query],
        bounds: &[f32; TILE],
    ) -> [u64; TILE] {
        let codes = self.codes.groups.at(group.index);
        let inverse = (1.0 / self.codes.weight()) as f32;
        let mut terms = tile.terms.clone();
        for (i, bound) in bounds.iter().enumerate() {
            let bound = bound * inverse;
            let size = group.scale * tile.magnitude[i]
                + group.bias * terms.gamma[i].abs()
                + group.offset
                + (tile.base[i].abs() + bound.abs());
            let rounding = size * (1.0 / 1_048_576.0);
            terms.limit[i] = (tile.base[i] - bound) - tile.reach[i] * codes.radius - rounding;
        }
        simd.int8_survivors(
            int8::Group::new(self.codes.groups.bits(), codes.codes),
            &group.rows,
            &tile.high,
            &terms,
        )
    }

    #[inline(always)]
    fn score<S: Simd>(
        &self,
        simd: S,
        group: &mut Group,
        _: At,
        query: &Query,
        mask: u64,
        top: &mut TopK<Candidate>,
    ) {
        let groups = &self.codes.groups;
        let codes = int8::Group::new(groups.bits(), groups.at(group.index).codes);
        let mut scored = usize::MAX;
        let [mut high, mut low] = [[0; QUARTER]; 2];
        for r in rows_of(mask) {
            if r / QUARTER != scored {
                scored = r / QUARTER;
                [high, low] = simd.int8_dots(codes, scored, &query.planes);
            }
            let sum = 256 * i64::from(high[r % QUARTER]) + i64::from(low[r % QUARTER]);
            let terms = [group.rows.scale[r], group.rows.bias[r], group.rows.offset[r]];
            let distance = self.codes.distance(query, terms.map(f64::from), sum);
            top.push(Candidate { hit: Hit { distance, row: (group.index * GROUP + r) as u32 }, sum });
        }
    }

    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, _: &mut Group, query: &Query, top: TopK<Candidate>) -> Vec<Hit> {
        let candidates = top.into_sorted();
        let Some(residual) = self.residual else {
            return candidates.into_iter().map(|candidate| candidate.hit).collect();
        };
        let ask = |candidate: &Candidate| residual.prefetch(candidate.hit.row as usize);
        candidates.iter().take(AHEAD).for_each(ask);
        let mut hits = Vec::with_capacity(candidates.len());
        for (i, &candidate) in candidates.iter().enumerate() {
            candidates.get(i + AHEAD).into_iter().for_each(ask);
            hits.push(self.codes.rescored(simd, query, residual, candidate));
        }
        hits.sort_unstable();
        hits
    }
}
