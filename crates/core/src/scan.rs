//! Exhaustive scans: query tiles × row groups, thresholds fused into the kernels, survivors into top-k.
//!
//! A [`Scan`] knows its rows in groups of 64. For each group and tile of queries it names the rows that may
//! still enter the tile's selections ([`Scan::survivors`], conservative), then scores those
//! ([`Scan::score`]). As no row that could enter is pruned and selections are totally ordered, the outcome is
//! that of scoring every row: the same for any batch size, thread count and order of rows.
//!
//! **Order of loops.** Chunks of groups outside, tiles inside, the groups of a chunk innermost: rows are read from
//! memory once per [`Scan::BATCH`] queries and stay in cache for all their tiles. A chunk is one group where a group
//! is costly to enter, more where a tile is large and wants to stay in the nearest cache ([`Scan::CHUNK`]).

use crate::ids::RowMask;
use crate::index::{Filter, SearchError};
use crate::select::{Hit, Ranked, TopK};
use crate::simd::{GROUP, Simd, TILE, Work, run};
use crate::threads::{Cancelled, Control};
use crate::vectors::{InputError, RowSource};

/// Groups between two looks at the cancellation flag.
const POLL: usize = 32;

/// What a query has found so far.
pub trait Selection: Clone + Send {
    /// Rows farther than this are of no use; one at this distance may be.
    fn bound(&self) -> f32;
    /// Takes in what another part of the rows gave.
    fn merge(&mut self, other: Self);
}

impl<T: Ranked + Send> Selection for TopK<T> {
    #[inline(always)]
    fn bound(&self) -> f32 {
        TopK::bound(self)
    }

    fn merge(&mut self, other: Self) {
        TopK::merge(self, other);
    }
}

/// Which group of a chunk, and which query of a tile.
#[derive(Clone, Copy)]
pub struct At {
    /// The group's place in its chunk.
    pub slot: usize,
    /// The query's place in its tile.
    pub place: usize,
}

/// The groups of a chunk.
#[derive(Clone, Copy)]
pub struct Groups<'a> {
    /// The group at place 0.
    pub first: usize,
    /// For each place, the rows that a query may return.
    pub allowed: &'a [u64],
}

/// Rows in groups of 64, and how to score them.
pub trait Scan: Sync {
    /// A query, ready to be scored.
    type Query: Send + Sync;
    /// Up to [`TILE`] queries, ready for the block kernel.
    type Tile: Send + Sync;
    /// What a thread holds of the chunk of groups it is at.
    type Chunk;
    /// What a query has found.
    type Top: Selection;

    /// Up to how many allowed rows of a group are scored one by one, without the block kernel.
    const SPARSE: u32;
    /// Groups of a chunk; a divisor of 32.
    const CHUNK: usize = 1;
    /// Queries scanned together by one thread: rows are read once for so many.
    const BATCH: usize = 170 * TILE;

    /// Number of rows.
    fn rows(&self) -> usize;

    /// Prepares a query. `index` is its number in the call, for errors.
    ///
    /// # Errors
    /// [`InputError`] for a query the metric has no use for.
    fn query<S: Simd>(&self, simd: S, values: &mut [f32], index: usize) -> Result<Self::Query, InputError>;

    /// Packs 1 to [`TILE`] queries.
    fn tile<S: Simd>(&self, simd: S, queries: &[Self::Query]) -> Self::Tile;

    /// Room for a chunk. `queries` is how many will be scored against each.
    fn chunk(&self, queries: usize) -> Self::Chunk;

    /// An empty selection of `k` rows.
    fn top(&self, k: usize) -> Self::Top;

    /// Makes place `slot` of the chunk stand for group `index`.
    fn enter<S: Simd>(&self, simd: S, chunk: &mut Self::Chunk, slot: usize, index: usize);

    /// Called before a tile meets a chunk. Selections may take rows of it, to raise their bar early: such rows are not
    /// taken again by [`Scan::score`]. Not called where each query has a mask of its own.
    #[inline(always)]
    fn begin<S: Simd>(
        &self,
        _simd: S,
        _chunk: &mut Self::Chunk,
        _groups: Groups<'_>,
        _tile: &Self::Tile,
        _queries: &[Self::Query],
        _tops: &mut [Self::Top],
    ) {
    }

    /// For each query of a tile, the rows of the chunk's group `slot` that may be at most `bounds` far: bit r for
    /// row r. Bits of absent rows, and entries beyond the tile's queries, are ignored.
    fn survivors<S: Simd>(
        &self,
        simd: S,
        chunk: &mut Self::Chunk,
        slot: usize,
        tile: &Self::Tile,
        queries: &[Self::Query],
        bounds: &[f32; TILE],
    ) -> [u64; TILE];

    /// Offers the rows of `mask` to `top`, each at its distance. Follows [`Scan::survivors`] of the same group and
    /// tile, unless the rows are sparse.
    fn score<S: Simd>(
        &self,
        simd: S,
        chunk: &mut Self::Chunk,
        at: At,
        query: &Self::Query,
        mask: u64,
        top: &mut Self::Top,
    );

    /// The hits of a query that has met every row, nearest first. `chunk` is room, for any queries.
    fn finish<S: Simd>(
        &self,
        simd: S,
        chunk: &mut Self::Chunk,
        query: &Self::Query,
        top: Self::Top,
    ) -> Vec<Hit>;
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
    let share = count.div_ceil(threads).next_multiple_of(TILE).min(T::BATCH);
    if count == 1 || share * (threads - 1) < count || groups < 4 * threads {
        // Enough queries for all: each thread scans every row for its own. One query stays on the caller's thread.
        let batches = (0..count).step_by(share.max(1));
        let parts = control.map(batches, |first| {
            let batch = Batch::new(scan, queries, first..count.min(first + share), k, control)?;
            let batch = batch.scan(scan, 0..groups, masks, control)?;
            Ok::<_, SearchError>(run(control.level(), Finish { scan, batch }))
        })?;
        return Ok(parts.into_iter().flatten().collect());
    }
    // Few queries: each thread scans its share of the rows for all of them.
    let span = groups.div_ceil(threads).next_multiple_of(T::CHUNK);
    let parts = control.map((0..groups).step_by(span), |first| {
        let batch = Batch::new(scan, queries, 0..count, k, control)?;
        Ok::<_, SearchError>(batch.scan(scan, first..groups.min(first + span), masks, control)?)
    })?;
    let mut parts = parts.into_iter();
    let Some(mut batch) = parts.next() else { return Ok(Vec::new()) };
    for part in parts {
        batch.tops.iter_mut().zip(part.tops).for_each(|(top, other)| top.merge(other));
    }
    Ok(run(control.level(), Finish { scan, batch }))
}

/// Consecutive queries of a call, packed, with their selections.
struct Batch<T: Scan> {
    first: usize,
    queries: Vec<T::Query>,
    /// Each tile with the bounds of its selections, so that a group that gives nothing touches nothing else.
    tiles: Vec<(T::Tile, [f32; TILE])>,
    tops: Vec<T::Top>,
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
        let (queries, tiles) = run(control.level(), Prepare { scan, source, range })?;
        let top = scan.top(k);
        let tiles = tiles.into_iter().map(|tile| (tile, [top.bound(); TILE])).collect();
        let tops = vec![top; queries.len()];
        Ok(Self { first, queries, tiles, tops })
    }

    fn scan(
        mut self,
        scan: &T,
        groups: std::ops::Range<usize>,
        masks: &Masks,
        control: &Control,
    ) -> Result<Self, Cancelled> {
        let mut state = scan.chunk(self.queries.len());
        for start in groups.clone().step_by(POLL) {
            control.check()?;
            let groups = start..groups.end.min(start + POLL);
            run(control.level(), Pass { scan, batch: &mut self, state: &mut state, groups, masks });
        }
        Ok(self)
    }
}

/// Reads, checks and prepares consecutive queries, under one level's features.
struct Prepare<'a, T> {
    scan: &'a T,
    source: &'a dyn RowSource,
    range: std::ops::Range<usize>,
}

impl<T: Scan> Work for Prepare<'_, T> {
    type Output = Result<(Vec<T::Query>, Vec<T::Tile>), InputError>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let mut values = vec![0.0; self.source.dim()];
        let mut queries = Vec::with_capacity(self.range.len());
        for index in self.range {
            crate::vectors::read_checked(self.source, index, &mut values)?;
            queries.push(self.scan.query(simd, &mut values, index)?);
        }
        let mut tiles = Vec::with_capacity(queries.len().div_ceil(TILE));
        for queries in queries.chunks(TILE) {
            tiles.push(self.scan.tile(simd, queries));
        }
        Ok((queries, tiles))
    }
}

/// Turns what a batch found into hits, under one level's features.
struct Finish<'a, T: Scan> {
    scan: &'a T,
    batch: Batch<T>,
}

impl<T: Scan> Work for Finish<'_, T> {
    type Output = Hits;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Hits {
        let Batch { queries, tops, .. } = self.batch;
        let mut chunk = self.scan.chunk(1);
        let mut hits = Vec::with_capacity(queries.len());
        // A loop, not an iterator's closures: those may be compiled apart, without the level's features.
        for (query, top) in queries.iter().zip(tops) {
            hits.push(self.scan.finish(simd, &mut chunk, query, top));
        }
        hits
    }
}

/// A few groups against all tiles of a batch, under one level's features.
struct Pass<'a, T: Scan> {
    scan: &'a T,
    batch: &'a mut Batch<T>,
    state: &'a mut T::Chunk,
    groups: std::ops::Range<usize>,
    masks: &'a Masks,
}

impl<T: Scan> Work for Pass<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { scan, batch, state, groups, masks } = self;
        for first in groups.clone().step_by(T::CHUNK) {
            let groups = first..groups.end.min(first + T::CHUNK);
            // The rows of each group that any query may return.
            let mut allowed = [0; POLL];
            for (slot, group) in groups.clone().enumerate() {
                let rows = scan.rows() - group * GROUP;
                let present = if rows >= GROUP { u64::MAX } else { (1 << rows) - 1 };
                allowed[slot] = match masks {
                    Masks::Shared(mask) => mask.group(group) & present,
                    Masks::All | Masks::PerQuery(_) => present,
                };
                if allowed[slot] != 0 {
                    scan.enter(simd, state, slot, group);
                }
            }
            let chunks = batch.queries.chunks(TILE).zip(batch.tops.chunks_mut(TILE));
            for (t, ((queries, tops), (tile, bounds))) in chunks.zip(&mut batch.tiles).enumerate() {
                if !matches!(masks, Masks::PerQuery(_)) {
                    let groups = Groups { first, allowed: &allowed[..groups.len()] };
                    scan.begin(simd, state, groups, tile, queries, tops);
                    bounds.iter_mut().zip(&*tops).for_each(|(bound, top)| *bound = top.bound());
                }
                for (slot, group) in groups.clone().enumerate() {
                    let allowed = allowed[slot];
                    if allowed == 0 {
                        continue;
                    }
                    let survivors = if allowed.count_ones() <= T::SPARSE {
                        [allowed; TILE]
                    } else {
                        scan.survivors(simd, state, slot, tile, queries, bounds)
                    };
                    for (i, mask) in survivors.into_iter().enumerate().take(queries.len()) {
                        let mask = mask & allowed & masks.group(batch.first + t * TILE + i, group);
                        if mask != 0 {
                            let at = At { slot, place: i };
                            scan.score(simd, state, at, &queries[i], mask, &mut tops[i]);
                            bounds[i] = tops[i].bound();
                        }
                    }
                }
            }
        }
    }
}

/// Of up to 64 rows, in the order given, those that a mask allows among `wanted`: one bit each.
#[inline(always)]
pub fn allowed_of(mask: &RowMask, rows: &[u32], wanted: u64) -> u64 {
    rows_of(wanted).fold(0, |allowed, r| {
        let row = rows[r] as usize;
        allowed | (mask.group(row / GROUP) >> (row % GROUP) & 1) << r
    })
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
