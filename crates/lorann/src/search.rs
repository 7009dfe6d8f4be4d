//! The search: a batch of queries, cluster by cluster.
//!
//! Queries are projected and routed as a batch, then grouped by the clusters they probe. A cluster's factor and codes
//! are read once for all of its queries, six at a time: the factor's rows are scored against the query, t − m̄ in
//! signed 8 bits, and give the weights u = A·(t − m); these, in 8 bits as well, are scored against the codes of points:
//!
//! > estimate = α·⟨t, c⟩ + ⟨u, b̂⟩ + bias of ⟨q, x⟩ under ip and cosine,
//! > −½‖t − c‖² + ⟨u, b̂⟩ + bias of −½‖q − x‖² + ½(‖q‖² − ‖t‖²) under l2.
//!
//! A kernel tells which points are better than the query's worst candidate; these alone are looked at ([`Pools`]). The
//! clusters nearest to each query come first, so that the worst candidate is soon a good one.
//!
//! Estimates are the same to the bit whatever the batch: weights depend on the query alone, sums are exact, and
//! candidates are chosen by a total order.

use std::cell::Cell;

use counterpoint_core::index::{SearchError, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::rerank::{self, rescored};
use counterpoint_core::scan::{Hits, Masks, allowed_of};
use counterpoint_core::select::Hit;
use counterpoint_core::simd::fastscan::{QueryTerms, RowTerms};
use counterpoint_core::simd::{GROUP, Simd, TILE, Work, run};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{Matrix, RowSource, read_checked, widen};

use crate::blocks::Blocks;
use crate::coding::quantise;
use crate::factor::middle;
use crate::memory::{Memory, Queries, Scratch, Visit};
use crate::model::Model;
use crate::pools::Pools;
use crate::store::{Clusters, Learned};

/// Queries of one batch at most.
const BATCH: usize = 1024;
/// Candidates of one batch at most.
const ROOM: usize = 1 << 21;
/// Clusters of each query that come first.
const FIRST: usize = 4;
/// Candidates of one query up to which a thread keeps the memory it took.
const FEW: usize = 4096;

thread_local! {
    /// What searching one query takes, kept from call to call.
    static MEMORY: Cell<Option<Box<Memory>>> = const { Cell::new(None) };
}

/// One call.
struct Call<'a> {
    store: &'a Clusters,
    model: &'a Model,
    blocks: &'a Blocks,
    queries: &'a dyn RowSource,
    masks: &'a Masks,
    control: &'a Control,
    k: usize,
    /// Candidates.
    candidates: usize,
    /// Whether they are scored exactly.
    exact: bool,
}

/// Searches, and re-ranks on kept vectors where there are any.
pub(crate) fn search(
    store: &Clusters,
    queries: &dyn RowSource,
    options: &SearchOptions<'_>,
    masks: &Masks,
    control: &Control,
) -> Result<Hits, SearchError> {
    let Some(Learned { model, blocks }) = store.learned() else {
        return Ok(vec![Vec::new(); queries.len()]);
    };
    let candidates = rerank::candidates(&store.kept, options, default_rerank(options.k));
    let exact = candidates > 0;
    let candidates = candidates.max(options.k).min(blocks.total());
    let k = options.k;
    let call = Call { store, model, blocks, queries, masks, control, k, candidates, exact };
    let probes = options.n_probe.unwrap_or(default_probes(model.clusters())).min(model.clusters());
    let share = queries.len().div_ceil(control.threads()).next_multiple_of(TILE);
    let share = share.min(BATCH).min(ROOM / candidates.max(1)).max(1);
    let batches = (0..queries.len()).step_by(share);
    let parts = control.map(batches, |first| {
        let chosen: Vec<usize> = (first..queries.len().min(first + share)).collect();
        run(control.level(), Batch { call: &call, chosen, probes })
    })?;
    Ok(parts.into_iter().flatten().collect())
}

/// Clusters searched where the caller does not say: with the default of candidates these bring recall@10 to 0.95 on
/// wordnet-minilm, whose queries are hard to route, and to 0.999 on Fashion-MNIST (queries 1,000 and up).
fn default_probes(clusters: usize) -> usize {
    clusters.div_ceil(5)
}

/// Candidates scored exactly where the caller does not say.
fn default_rerank(k: usize) -> usize {
    8 * k + 20
}

/// Standard deviations by which the estimate of a candidate would have to err to be worth a look: the more, the more
/// candidates were asked for, as they are by those who want the last neighbours. With 3 the share of neighbours lost is
/// about 0.001 at a recall of 0.95 and 0.003 to 0.006 at 0.99 (wordnet-minilm, Fashion-MNIST), with 4 below 0.001.
fn patience(candidates: usize, k: usize) -> f32 {
    2.7 + candidates as f32 / (30 * k.max(1)) as f32
}

/// Some queries of a call, searched on one thread.
struct Batch<'a> {
    call: &'a Call<'a>,
    chosen: Vec<usize>,
    probes: usize,
}

impl Work for Batch<'_> {
    type Output = Result<Hits, SearchError>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let mut memory = MEMORY.take().unwrap_or_default();
        let keep = self.chosen.len() == 1 && self.call.candidates <= FEW;
        let hits = self.hits(simd, &mut memory);
        if keep {
            MEMORY.set(Some(memory));
        }
        hits
    }
}

impl Batch<'_> {
    #[inline(always)]
    fn hits<S: Simd>(self, simd: S, memory: &mut Memory) -> Result<Hits, SearchError> {
        let Self { call, mut chosen, mut probes } = self;
        let mut hits = vec![Vec::new(); chosen.len()];
        let mut places: Vec<usize> = (0..chosen.len()).collect();
        loop {
            call.prepare(simd, &chosen, &mut memory.queries)?;
            call.candidates(simd, &chosen, probes, memory)?;
            let mut unfilled = Vec::new();
            for (i, &query) in chosen.iter().enumerate() {
                let found = memory.pools.found(i);
                if found < call.wanted(query) && probes < call.model.clusters() {
                    unfilled.push(i);
                } else {
                    hits[places[i]] = call.finish(simd, i, memory);
                }
            }
            if unfilled.is_empty() {
                return Ok(hits);
            }
            // Few points in these clusters, or few that are allowed: more clusters for those queries.
            chosen = unfilled.iter().map(|&i| chosen[i]).collect();
            places = unfilled.iter().map(|&i| places[i]).collect();
            probes = (2 * probes).min(call.model.clusters());
        }
    }
}

impl Call<'_> {
    /// How many candidates a query must have, if there are so many.
    fn wanted(&self, query: usize) -> usize {
        match self.masks {
            Masks::All => self.k,
            // Among few allowed points the nearest lie further away: as many as are to be scored.
            Masks::Shared(mask) => self.candidates.min(mask.count()),
            Masks::PerQuery(masks) => self.candidates.min(masks[query].count()),
        }
    }

    /// Reads, checks, projects and codes queries.
    #[inline(always)]
    fn prepare<S: Simd>(&self, simd: S, chosen: &[usize], queries: &mut Queries) -> Result<(), SearchError> {
        let Self { model, store, queries: source, .. } = self;
        let (dim, count, outputs) = (source.dim(), chosen.len(), model.outputs());
        queries.reset(count, Matrix::<f32>::stride_for(dim), outputs);
        for (values, &query) in queries.values.chunks_exact_mut(queries.stride).zip(chosen) {
            read_checked(*source, query, &mut values[..dim])?;
            store.metric.prepare(&mut values[..dim], query)?;
        }
        let Queries { values, stride, projected, projected_stride, planes, centred, coded, step, sum } =
            queries;
        let out = (&mut **projected, *projected_stride);
        model.query_projection.apply(simd, (values, *stride), count, out, planes);
        let mean = model.mean.row(0);
        let rows = projected.chunks_exact(*projected_stride).zip(coded.chunks_exact_mut(outputs));
        for ((row, codes), (step, sum)) in rows.zip(step.iter_mut().zip(sum)) {
            centred.iter_mut().zip(row).zip(mean).for_each(|((to, value), mean)| *to = value - mean);
            (*step, *sum) = quantise(centred, codes);
        }
        Ok(())
    }

    /// The candidates of each query.
    #[inline(always)]
    fn candidates<S: Simd>(
        &self,
        simd: S,
        chosen: &[usize],
        probes: usize,
        memory: &mut Memory,
    ) -> Result<(), SearchError> {
        let Self { model, .. } = self;
        let Memory { nearest, probed, queries, pools, scratch } = memory;
        let Queries { projected, projected_stride, .. } = &*queries;
        model.centroids.route(simd, projected, *projected_stride, chosen.len(), probes, nearest);
        pools.reset(chosen.len(), self.candidates);
        scratch.reset(model);
        let width = nearest.width();
        let first = if width <= 2 * FIRST { width } else { FIRST };
        let base = |query: usize, order: usize, cluster: usize| {
            let distance = nearest.distances()[query * width + order];
            match self.store.metric {
                Metric::L2 => -0.5 * distance,
                Metric::Ip | Metric::Cosine => -model.along(cluster) * distance,
            }
        };
        if chosen.len() == 1 {
            for (order, &cluster) in nearest.of(0).iter().enumerate() {
                let visit = Visit { query: 0, base: base(0, order, cluster as usize) };
                self.control.check()?;
                self.visit(simd, cluster as usize, &[visit], chosen, queries, pools, scratch);
            }
            return Ok(());
        }
        probed.group(nearest, model.clusters());
        let mut visits = Vec::new();
        for range in [0..first, first..width] {
            for cluster in 0..model.clusters() {
                visits.clear();
                let within =
                    probed.of(cluster).iter().filter(|visit| range.contains(&(visit.order as usize)));
                visits.extend(within.map(|visit| {
                    let base = base(visit.query as usize, visit.order as usize, cluster);
                    Visit { query: visit.query, base }
                }));
                if !visits.is_empty() {
                    self.control.check()?;
                    self.visit(simd, cluster, &visits, chosen, queries, pools, scratch);
                }
            }
        }
        Ok(())
    }

    /// Offers a cluster's points to the queries that probe it.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "the inner loop, split off for the reader")]
    fn visit<S: Simd>(
        &self,
        simd: S,
        cluster: usize,
        visits: &[Visit],
        chosen: &[usize],
        queries: &Queries,
        pools: &mut Pools,
        scratch: &mut Scratch,
    ) {
        let Self { model, blocks, masks, .. } = self;
        let (middle, outputs, rank) = (middle(model.bits), model.outputs(), model.rank);
        let Scratch { scale, allowed, tiles, values, weights, coded, .. } = scratch;
        let Some([factor_tile, point_tile]) = tiles else { return };
        let groups = blocks.list(cluster).len();
        if groups > scale.len() {
            scale.resize(groups, [0.0; GROUP]);
            allowed.resize(groups, 0);
        }
        let mut any = 0;
        for ((block, scale), allowed) in blocks.list(cluster).zip(scale.iter_mut()).zip(allowed.iter_mut()) {
            widen(block.scale, scale);
            *allowed = u64::MAX >> (GROUP - block.rows.len());
            if let Masks::Shared(mask) = masks {
                *allowed = allowed_of(mask, block.rows, *allowed);
            }
            any |= *allowed;
        }
        if any == 0 {
            return;
        }
        let unit = model.unit(cluster);
        for tile in visits.chunks(TILE) {
            let code = |visit: &Visit| &queries.coded[visit.query as usize * outputs..][..outputs];
            factor_tile.refill(tile.iter().map(code));
            let mut terms = QueryTerms { limit: [f32::NEG_INFINITY; TILE], ..QueryTerms::default() };
            for (i, visit) in tile.iter().enumerate() {
                let step = queries.step[visit.query as usize];
                terms.alpha[i] = step;
                terms.beta[i] = -middle * step * queries.sum[visit.query as usize] as f32;
            }
            let padded = model.factor_groups() * GROUP;
            for group in 0..model.factor_groups() {
                let (codes, rows) = model.factor(cluster, group);
                simd.int8_scores(codes, rows, factor_tile, &terms, values);
                for (weights, values) in weights.chunks_exact_mut(padded).zip(&values[..tile.len()]) {
                    weights[group * GROUP..(group + 1) * GROUP].copy_from_slice(values);
                }
            }
            let mut base = [0.0; TILE];
            for (i, visit) in tile.iter().enumerate() {
                let weights = &weights[i * padded..i * padded + rank];
                let (step, sum) = quantise(weights, &mut coded[i * rank..(i + 1) * rank]);
                terms.alpha[i] = step * unit;
                terms.beta[i] = -middle * (step * unit) * sum as f32;
                terms.limit[i] = pools.limit(visit.query as usize, visit.base);
                base[i] = visit.base;
            }
            point_tile.refill(coded.chunks_exact(rank).take(tile.len()));
            for ((block, scale), &allowed) in blocks.list(cluster).zip(scale.iter()).zip(allowed.iter()) {
                if allowed == 0 {
                    continue;
                }
                let rows = RowTerms { scale, offset: block.bias };
                let passed = simd.int8_scores(block.codes, rows, point_tile, &terms, values);
                for (i, visit) in tile.iter().enumerate() {
                    let mut passed = passed[i] & allowed;
                    if passed == 0 {
                        continue;
                    }
                    if let Masks::PerQuery(masks) = masks {
                        passed = allowed_of(&masks[chosen[visit.query as usize]], block.rows, passed);
                    }
                    let query = visit.query as usize;
                    pools.offer(query, base[i], passed, &values[i], block.rows);
                    terms.limit[i] = pools.limit(query, visit.base);
                }
            }
        }
    }

    /// The hits of a query, nearest first.
    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, i: usize, memory: &mut Memory) -> Vec<Hit> {
        let Memory { queries, pools, scratch, .. } = memory;
        let query = &queries.values[i * queries.stride..(i + 1) * queries.stride];
        let metric = self.store.metric;
        let projected = &queries.projected[i * queries.projected_stride..(i + 1) * queries.projected_stride];
        let beyond = match metric {
            Metric::L2 => simd.dot(query, query) - simd.dot(projected, projected),
            Metric::Ip | Metric::Cosine => 0.0,
        };
        let candidates = pools.candidates(i).map(|(estimate, row)| {
            let distance = match metric {
                Metric::L2 => beyond - 2.0 * estimate,
                Metric::Ip => -estimate,
                Metric::Cosine => 1.0 - estimate,
            };
            Hit { distance: metric.clamp(distance), row }
        });
        let hits = &mut scratch.hits;
        hits.clear();
        hits.extend(candidates);
        hits.sort_unstable();
        if self.exact {
            // Whoever asks for every row is given every row.
            let patience = (self.candidates < self.blocks.total()).then(|| patience(self.candidates, self.k));
            let row = &mut scratch.row;
            row.resize(query.len(), 0.0);
            return rescored(simd, &self.store.kept, metric, query, hits, self.k, patience, row);
        }
        hits.truncate(self.k);
        hits.clone()
    }
}
