//! Exhaustive scans: query tiles × row groups, thresholds fused into the kernels, survivors into top-k.
//!
//! A [`Scan`] knows its rows in groups of 64. For each group and tile of queries it names the rows that may
//! still enter the tile's selections ([`Scan::survivors`], conservative), then scores those
//! ([`Scan::score`]). As no row that could enter is pruned and selections are totally ordered, the outcome is
//! that of scoring every row: the same for any batch size, thread count and order of rows.
//!
//! **Order of loops.** Groups outside, tiles inside: a group is read from memory once per [`BATCH`] queries and
//! stays in cache for all their tiles.

use crate::ids::RowMask;
use crate::index::{Filter, SearchError};
use crate::select::{Hit, TopK};
use crate::simd::{GROUP, Simd, TILE, Work, run};
use crate::threads::{Cancelled, Control};
use crate::vectors::{InputError, RowSource};

/// Queries scanned together by one thread.
pub const BATCH: usize = 170 * TILE;
/// Groups between two looks at the cancellation flag.
const POLL: usize = 16;

/// Rows in groups of 64, and how to score them.
pub trait Scan: Sync {
    /// A query, ready to be scored.
    type Query: Send + Sync;
    /// Up to [`TILE`] queries, ready for the block kernel.
    type Tile: Send + Sync;
    /// What a thread holds of the group it is at.
    type Group;

    /// Up to how many allowed rows of a group are scored one by one, without the block kernel.
    const SPARSE: u32;

    /// Number of rows.
    fn rows(&self) -> usize;

    /// Prepares a query. `index` is its number in the call, for errors.
    ///
    /// # Errors
    /// [`InputError`] for a query the metric has no use for.
    fn query<S: Simd>(&self, simd: S, values: &mut [f32], index: usize) -> Result<Self::Query, InputError>;

    /// Packs 1 to [`TILE`] queries.
    fn tile(&self, queries: &[Self::Query]) -> Self::Tile;

    /// Room for a group. `queries` is how many will be scored against each.
    fn group(&self, queries: usize) -> Self::Group;

    /// Makes `group` stand for group `index`.
    fn enter<S: Simd>(&self, simd: S, group: &mut Self::Group, index: usize);

    /// For each query of a tile, the rows of the group that may be at most `bounds` far: bit r for row r.
    /// Bits of absent rows, and entries beyond the tile's queries, are ignored.
    fn survivors<S: Simd>(
        &self,
        simd: S,
        group: &mut Self::Group,
        tile: &Self::Tile,
        queries: &[Self::Query],
        bounds: &[f32; TILE],
    ) -> [u64; TILE];

    /// Offers the rows of `mask` to `top`, each at its distance.
    fn score<S: Simd>(
        &self,
        simd: S,
        group: &mut Self::Group,
        query: &Self::Query,
        mask: u64,
        top: &mut TopK,
    );
}

/// The `k` best rows for each query, nearest first.
pub type Hits = Vec<Vec<Hit>>;

/// One mask for all queries, one for each, or none.
pub enum Masks {
    /// Every row is allowed.
    All,
    /// The same rows for every query.
    Shared(RowMask),
    /// One mask for each query.
    PerQuery(Vec<RowMask>),
}

impl Masks {
    /// Turns a call's filter into masks over the rows of `ids`.
    ///
    /// # Errors
    /// [`SearchError::Filter`] or [`SearchError::FilterCount`].
    pub fn new(filter: &Filter<'_>, ids: &crate::ids::Ids, queries: usize) -> Result<Self, SearchError> {
        Ok(match filter {
            Filter::None => Masks::All,
            Filter::Shared(allow) => Masks::Shared(ids.mask(*allow)?),
            Filter::PerQuery(allows) if allows.len() != queries => {
                return Err(SearchError::FilterCount { expected: queries, got: allows.len() });
            }
            Filter::PerQuery(allows) => {
                Masks::PerQuery(allows.iter().map(|&allow| ids.mask(allow)).collect::<Result<_, _>>()?)
            }
        })
    }

    /// Rows of `group` that query `query` may return.
    #[inline(always)]
    fn group(&self, query: usize, group: usize) -> u64 {
        match self {
            Masks::All => u64::MAX,
            Masks::Shared(mask) => mask.group(group),
            Masks::PerQuery(masks) => masks[query].group(group),
        }
    }

    /// The most rows any query may return, of `rows`.
    pub fn widest(&self, rows: usize) -> usize {
        match self {
            Masks::All => rows,
            Masks::Shared(mask) => mask.count(),
            Masks::PerQuery(masks) => masks.iter().map(RowMask::count).max().unwrap_or(0),
        }
    }
}

/// Scans all rows for the best `k` of each query.
///
/// # Errors
/// [`SearchError`]: a query is refused, or the call was cancelled.
pub fn search<T: Scan>(
    scan: &T,
    queries: &dyn RowSource,
    k: usize,
    masks: &Masks,
    control: &Control,
) -> Result<Hits, SearchError> {
    let count = queries.len();
    let groups = scan.rows().div_ceil(GROUP);
    let threads = control.threads();
    let share = count.div_ceil(threads).next_multiple_of(TILE).min(BATCH);
    if count == 1 || share * (threads - 1) < count || groups < 4 * threads {
        // Enough queries for all: each thread scans every row for its own. One query stays on the caller's thread.
        let batches = (0..count).step_by(share.max(1));
        let parts = control.map(batches, |first| {
            let batch = Batch::new(scan, queries, first..count.min(first + share), k, control)?;
            Ok::<_, SearchError>(batch.scan(scan, 0..groups, masks, control)?)
        })?;
        return Ok(parts.into_iter().flatten().map(TopK::into_sorted).collect());
    }
    // Few queries: each thread scans its share of the rows for all of them.
    let span = groups.div_ceil(threads);
    let parts = control.map((0..groups).step_by(span), |first| {
        let batch = Batch::new(scan, queries, 0..count, k, control)?;
        Ok::<_, SearchError>(batch.scan(scan, first..groups.min(first + span), masks, control)?)
    })?;
    let mut parts = parts.into_iter();
    let mut tops = parts.next().unwrap_or_default();
    for part in parts {
        tops.iter_mut().zip(part).for_each(|(top, other)| top.merge(other));
    }
    Ok(tops.into_iter().map(TopK::into_sorted).collect())
}

/// Consecutive queries of a call, packed, with their selections.
struct Batch<T: Scan> {
    first: usize,
    queries: Vec<T::Query>,
    /// Each tile with the bounds of its selections, so that a group that gives nothing touches nothing else.
    tiles: Vec<(T::Tile, [f32; TILE])>,
    tops: Vec<TopK>,
}

impl<T: Scan> Batch<T> {
    fn new(
        scan: &T,
        source: &dyn RowSource,
        range: std::ops::Range<usize>,
        k: usize,
        control: &Control,
    ) -> Result<Self, InputError> {
        let first = range.start;
        let queries = run(control.level(), Prepare { scan, source, range })?;
        let bound = TopK::new(k).bound();
        let tiles = queries.chunks(TILE).map(|chunk| (scan.tile(chunk), [bound; TILE])).collect();
        let tops = vec![TopK::new(k); queries.len()];
        Ok(Self { first, queries, tiles, tops })
    }

    fn scan(
        mut self,
        scan: &T,
        groups: std::ops::Range<usize>,
        masks: &Masks,
        control: &Control,
    ) -> Result<Vec<TopK>, Cancelled> {
        let mut state = scan.group(self.queries.len());
        for start in groups.clone().step_by(POLL) {
            control.check()?;
            let groups = start..groups.end.min(start + POLL);
            run(control.level(), Pass { scan, batch: &mut self, state: &mut state, groups, masks });
        }
        Ok(self.tops)
    }
}

/// Reads, checks and prepares consecutive queries, under one level's features.
struct Prepare<'a, T> {
    scan: &'a T,
    source: &'a dyn RowSource,
    range: std::ops::Range<usize>,
}

impl<T: Scan> Work for Prepare<'_, T> {
    type Output = Result<Vec<T::Query>, InputError>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let mut values = vec![0.0; self.source.dim()];
        let mut queries = Vec::with_capacity(self.range.len());
        for index in self.range {
            crate::vectors::read_checked(self.source, index, &mut values)?;
            queries.push(self.scan.query(simd, &mut values, index)?);
        }
        Ok(queries)
    }
}

/// A few groups against all tiles of a batch, under one level's features.
struct Pass<'a, T: Scan> {
    scan: &'a T,
    batch: &'a mut Batch<T>,
    state: &'a mut T::Group,
    groups: std::ops::Range<usize>,
    masks: &'a Masks,
}

impl<T: Scan> Work for Pass<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { scan, batch, state, groups, masks } = self;
        for group in groups {
            let rows = scan.rows() - group * GROUP;
            let present = if rows >= GROUP { u64::MAX } else { (1 << rows) - 1 };
            let shared = match masks {
                Masks::Shared(mask) => mask.group(group),
                Masks::All | Masks::PerQuery(_) => u64::MAX,
            };
            if shared == 0 {
                continue;
            }
            scan.enter(simd, state, group);
            let chunks = batch.queries.chunks(TILE).zip(batch.tops.chunks_mut(TILE));
            for (t, ((queries, tops), (tile, bounds))) in chunks.zip(&mut batch.tiles).enumerate() {
                let survivors = if shared.count_ones() <= T::SPARSE {
                    [shared; TILE]
                } else {
                    scan.survivors(simd, state, tile, queries, bounds)
                };
                for (i, mask) in survivors.into_iter().enumerate().take(queries.len()) {
                    let mask = mask & present & masks.group(batch.first + t * TILE + i, group);
                    if mask != 0 {
                        scan.score(simd, state, &queries[i], mask, &mut tops[i]);
                        bounds[i] = tops[i].bound();
                    }
                }
            }
        }
    }
}

/// The rows of a group's mask, lowest first.
#[inline(always)]
pub fn rows_of(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let row = mask.trailing_zeros() as usize;
        (mask != 0).then(|| {
            mask &= mask - 1;
            row
        })
    })
}
