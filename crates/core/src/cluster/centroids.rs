//! The nearest centroids of vectors.
//!
//! Of a vector x and a centroid c the *score* is
//!
//! > s(x, c) = ⟨x, c⟩ − ½‖c‖² under l2, ⟨x, c⟩ under ip and cosine;
//!
//! the larger, the nearer (‖x − c‖² = ‖x‖² − 2·s). A tile of 6 vectors meets 64 centroids at a time in
//! [`Simd::f32_scores`]; scores that beat the worst kept so far are kept, the others never leave the first cache. A
//! score depends on its vector and centroid only, ties go to the lower cluster: what is found depends on neither the
//! number of threads nor the vectors beside.

use crate::metric::Metric;
use crate::scan::rows_of;
use crate::simd::f32::Panel;
use crate::simd::product::Vectors;
use crate::simd::{GROUP, Simd, TILE, Work, run};
use crate::threads::{Cancelled, Control};
use crate::vectors::Matrix;

/// Up to this many are kept sorted as they come; more are collected and selected from.
const FEW: usize = 16;
/// Vectors that meet a panel before the next panel comes, where few are kept.
const BLOCK: usize = 16 * TILE;
/// Vectors of one item of parallel work.
const PART: usize = 8 * BLOCK;

/// Centroids, ready to be compared with vectors.
#[derive(Clone)]
pub struct Centroids {
    rows: Matrix<f32>,
    metric: Metric,
    panels: Vec<Panel>,
}

/// The nearest clusters of vectors, nearest first: [`Nearest::width`] for each.
///
/// Holds the memory that finding them takes, so that one that is used again allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Nearest {
    clusters: Vec<u32>,
    scores: Vec<f32>,
    width: usize,
    scratch: Scratch,
}

/// What is kept of a block of vectors, as keys: [`key`].
#[derive(Clone, Debug, Default)]
struct Scratch {
    keys: Vec<u64>,
    /// How many keys each vector has, where they are collected.
    counts: Vec<usize>,
}

impl Nearest {
    /// How many clusters each vector has: those asked for, or all there are.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All clusters, vector after vector.
    pub fn clusters(&self) -> &[u32] {
        &self.clusters
    }

    /// Their scores (see [`Centroids`]).
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// The clusters of one vector, nearest first.
    ///
    /// # Panics
    /// If there is no such vector.
    pub fn of(&self, vector: usize) -> &[u32] {
        &self.clusters[vector * self.width..(vector + 1) * self.width]
    }
}

/// A score and its cluster: the nearer, the smaller; among equal scores, the lower cluster.
#[inline(always)]
fn key(score: f32, cluster: u32) -> u64 {
    let bits = score.to_bits();
    // Rises as the score does: of negative values all bits are turned, of others the sign.
    let rising = bits ^ ((bits.cast_signed() >> 31).cast_unsigned() | 1 << 31);
    u64::from(!rising) << 32 | u64::from(cluster)
}

/// The score of a key; NaN, which no score is below, of `u64::MAX`.
#[inline(always)]
fn score(key: u64) -> f32 {
    let rising = !((key >> 32) as u32);
    let turned = if rising >> 31 == 1 { 1 << 31 } else { u32::MAX };
    f32::from_bits(rising ^ turned)
}

impl Centroids {
    /// Centroids, one a row, of finite values of legal magnitude.
    pub fn new(rows: Matrix<f32>, metric: Metric) -> Self {
        Self::priced(rows, metric, &[])
    }

    /// Centroids of which each has a price, subtracted from its scores; none where the prices end.
    pub(super) fn priced(rows: Matrix<f32>, metric: Metric, prices: &[f32]) -> Self {
        let groups = (0..rows.rows()).step_by(GROUP).map(|first| first..rows.rows().min(first + GROUP));
        let panels = groups.map(|group| {
            let mut panel = Panel::new(rows.dim());
            panel.pack(group.clone().map(|row| rows.row(row)));
            for (term, row) in panel.terms.iter_mut().zip(group) {
                let square = rows.row(row).iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
                let half = if metric == Metric::L2 { 0.5 * square } else { 0.0 };
                *term = (half + prices.get(row).map_or(0.0, |&price| f64::from(price))) as f32;
            }
            panel
        });
        let panels = panels.collect();
        Self { rows, metric, panels }
    }

    /// The centroids, one a row: what a file holds.
    pub fn rows(&self) -> &Matrix<f32> {
        &self.rows
    }

    /// Takes the centroids back out.
    pub fn into_rows(self) -> Matrix<f32> {
        self.rows
    }

    /// What "near" means.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Number of centroids.
    pub fn len(&self) -> usize {
        self.rows.rows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values of a centroid.
    pub fn dim(&self) -> usize {
        self.rows.dim()
    }

    /// The `width` nearest clusters of each row (all, if there are no more), on all threads.
    ///
    /// # Errors
    /// [`Cancelled`].
    ///
    /// # Panics
    /// If rows and centroids differ in dimension.
    pub fn nearest(&self, rows: &Matrix<f32>, width: usize, control: &Control) -> Result<Nearest, Cancelled> {
        assert_eq!(rows.dim(), self.dim(), "rows and centroids of different dimensions");
        let width = width.min(self.len());
        let count = rows.rows() * width;
        let mut found = Nearest {
            clusters: vec![0; count],
            scores: vec![0.0; count],
            width,
            scratch: Scratch::default(),
        };
        let part = (PART * width).max(1);
        let parts = found.clusters.chunks_mut(part).zip(found.scores.chunks_mut(part));
        control.for_each(parts.enumerate(), |(part, (clusters, scores))| {
            let (values, stride) = (&rows.values()[part * PART * rows.stride()..], rows.stride());
            let scratch = &mut Scratch::default();
            run(
                control.level(),
                Search { centroids: self, values, stride, width, clusters, scores, scratch },
            );
            Ok::<_, Cancelled>(())
        })?;
        Ok(found)
    }

    /// The `width` nearest clusters (all, if there are no more) of `count` queries, of which each begins `stride`
    /// values after the one before. Runs on the caller's thread, inside a search.
    ///
    /// # Panics
    /// If a query ends beyond `values`.
    #[inline(always)]
    pub fn route<S: Simd>(
        &self,
        simd: S,
        values: &[f32],
        stride: usize,
        count: usize,
        width: usize,
        found: &mut Nearest,
    ) {
        let width = width.min(self.len());
        let Nearest { clusters, scores, scratch, .. } = found;
        clusters.resize(count * width, 0);
        scores.resize(count * width, 0.0);
        Search { centroids: self, values, stride, width, clusters, scores, scratch }.run(simd);
        found.width = width;
    }
}

/// Finds the nearest clusters of as many vectors as there is room for, under one level's features.
struct Search<'a> {
    centroids: &'a Centroids,
    values: &'a [f32],
    stride: usize,
    width: usize,
    clusters: &'a mut [u32],
    scores: &'a mut [f32],
    scratch: &'a mut Scratch,
}

impl Work for Search<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { centroids, values, stride, width, clusters, scores, scratch } = self;
        if width == 0 {
            return;
        }
        let block = if width <= FEW { BLOCK } else { TILE };
        let out = clusters.chunks_mut(block * width).zip(scores.chunks_mut(block * width));
        for (b, (clusters, scores)) in out.enumerate() {
            let count = clusters.len() / width;
            let values = &values[b * block * stride..];
            let capacity = if width <= FEW {
                centroids.few(simd, values, stride, count, width, scratch);
                width
            } else {
                centroids.many(simd, values, stride, count, width, scratch)
            };
            let out = clusters.chunks_exact_mut(width).zip(scores.chunks_exact_mut(width));
            for (keys, (clusters, scores)) in scratch.keys.chunks_exact(capacity).zip(out) {
                for ((&key, cluster), to) in keys.iter().zip(clusters).zip(scores) {
                    *cluster = key as u32;
                    *to = score(key);
                }
            }
        }
    }
}

impl Centroids {
    /// Keeps `width` keys of each vector, sorted.
    #[inline(always)]
    fn few<S: Simd>(
        &self,
        simd: S,
        values: &[f32],
        stride: usize,
        count: usize,
        width: usize,
        scratch: &mut Scratch,
    ) {
        scratch.keys.clear();
        scratch.keys.resize(count * width, u64::MAX);
        let mut scores = [[0.0; GROUP]; TILE];
        for (g, panel) in self.panels.iter().enumerate() {
            let first = g * GROUP;
            let present = u64::MAX >> (GROUP - (self.len() - first).min(GROUP));
            for (t, kept) in scratch.keys.chunks_mut(TILE * width).enumerate() {
                let mut limits = [0.0; TILE];
                for (limit, kept) in limits.iter_mut().zip(kept.chunks_exact(width)) {
                    *limit = score(kept[width - 1]);
                }
                let vectors =
                    Vectors::new(&values[t * TILE * stride..], stride, kept.len() / width, self.dim());
                let masks = simd.f32_scores(panel, vectors, &limits, &mut scores);
                for ((kept, scores), mask) in kept.chunks_exact_mut(width).zip(&scores).zip(masks) {
                    for r in rows_of(mask & present) {
                        insert(kept, key(scores[r], (first + r) as u32));
                    }
                }
            }
        }
    }

    /// Collects keys of each vector of a tile, and selects from them whenever there is no room for more; gives the
    /// room of each vector.
    #[inline(always)]
    fn many<S: Simd>(
        &self,
        simd: S,
        values: &[f32],
        stride: usize,
        count: usize,
        width: usize,
        scratch: &mut Scratch,
    ) -> usize {
        let capacity = 2 * width + 2 * GROUP;
        scratch.keys.resize(count * capacity, u64::MAX);
        scratch.counts.clear();
        scratch.counts.resize(count, 0);
        let vectors = Vectors::new(values, stride, count, self.dim());
        let mut scores = [[0.0; GROUP]; TILE];
        let mut limits = [f32::NAN; TILE];
        for (g, panel) in self.panels.iter().enumerate() {
            let first = g * GROUP;
            let present = u64::MAX >> (GROUP - (self.len() - first).min(GROUP));
            let masks = simd.f32_scores(panel, vectors, &limits, &mut scores);
            let kept = scratch.keys.chunks_exact_mut(capacity).zip(&mut scratch.counts);
            for (((kept, count), (scores, mask)), limit) in
                kept.zip(scores.iter().zip(masks)).zip(&mut limits)
            {
                for r in rows_of(mask & present) {
                    kept[*count] = key(scores[r], (first + r) as u32);
                    *count += 1;
                }
                // The first selection makes a limit early; later ones wait until there is no room.
                let enough = if limit.is_nan() { width + GROUP } else { capacity - GROUP };
                if *count > enough {
                    let (_, &mut last, _) = kept[..*count].select_nth_unstable(width - 1);
                    *limit = score(last);
                    *count = width;
                }
            }
        }
        for (kept, &mut count) in scratch.keys.chunks_exact_mut(capacity).zip(&mut scratch.counts) {
            if count > width {
                kept[..count].select_nth_unstable(width - 1);
            }
            kept[..width].sort_unstable();
        }
        capacity
    }
}

/// Puts a key in its place among sorted keys, over the last.
#[inline(always)]
fn insert(kept: &mut [u64], key: u64) {
    let Some(mut at) = kept.len().checked_sub(1).filter(|&last| key < kept[last]) else { return };
    while at > 0 && kept[at - 1] > key {
        kept[at] = kept[at - 1];
        at -= 1;
    }
    kept[at] = key;
}
