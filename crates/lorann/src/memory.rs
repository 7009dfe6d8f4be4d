//! The memory that a search works in: a thread keeps that of one query from call to call.

use counterpoint_core::cluster::{Nearest, Probed};
use counterpoint_core::select::Hit;
use counterpoint_core::simd::int8::{Bits, Tile};
use counterpoint_core::simd::{GROUP, TILE};
use counterpoint_core::vectors::Matrix;

use crate::model::Model;
use crate::pools::Pools;
use crate::projection::Planes;

/// All of it. What a search finds there it does not read.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) nearest: Nearest,
    pub(crate) probed: Probed,
    pub(crate) queries: Queries,
    pub(crate) pools: Pools,
    pub(crate) scratch: Scratch,
}

/// The queries of a batch, ready.
#[derive(Default)]
pub(crate) struct Queries {
    /// Prepared and padded, `stride` apart.
    pub(crate) values: Vec<f32>,
    pub(crate) stride: usize,
    /// t, `projected_stride` apart.
    pub(crate) projected: Vec<f32>,
    pub(crate) projected_stride: usize,
    pub(crate) planes: Planes,
    /// t − m̄ of one query.
    pub(crate) centred: Vec<f32>,
    /// t − m̄ in units of `step`, one after another.
    pub(crate) coded: Vec<i8>,
    pub(crate) step: Vec<f32>,
    /// Σ `coded`.
    pub(crate) sum: Vec<i32>,
}

impl Queries {
    /// Room for `count` queries, all zeros, `stride` apart, with `outputs` values of t.
    pub(crate) fn reset(&mut self, count: usize, stride: usize, outputs: usize) {
        self.stride = stride;
        self.projected_stride = Matrix::<f32>::stride_for(outputs);
        zeros(&mut self.values, count * stride);
        zeros(&mut self.projected, count * self.projected_stride);
        zeros(&mut self.centred, outputs);
        zeros(&mut self.coded, count * outputs);
        zeros(&mut self.step, count);
        zeros(&mut self.sum, count);
    }
}

fn zeros<T: Clone + Default>(values: &mut Vec<T>, len: usize) {
    values.clear();
    values.resize(len, T::default());
}

/// A query that probes a cluster, and the part of its estimates that all points there share.
#[derive(Clone, Copy, Default)]
pub(crate) struct Visit {
    pub(crate) query: u32,
    pub(crate) base: f32,
}

/// What is written over for each cluster, and for each query at the end.
pub(crate) struct Scratch {
    /// What the tiles were made for: bits, values of t, rank.
    shape: Option<(Bits, usize, usize)>,
    /// Of the factor's and the points' queries.
    pub(crate) tiles: Option<[Tile; 2]>,
    /// The scales of a cluster's points: as many groups as were met.
    pub(crate) scale: Vec<[f32; GROUP]>,
    /// The points of a group that may be returned, and are there.
    pub(crate) allowed: Vec<u64>,
    pub(crate) values: Box<[[f32; GROUP]; TILE]>,
    /// u of a tile.
    pub(crate) weights: Vec<f32>,
    pub(crate) coded: Vec<i8>,
    /// Candidates in order.
    pub(crate) hits: Vec<Hit>,
    /// A kept vector.
    pub(crate) row: Vec<f32>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            shape: None,
            tiles: None,
            scale: Vec::new(),
            allowed: Vec::new(),
            values: Box::new([[0.0; GROUP]; TILE]),
            weights: Vec::new(),
            coded: Vec::new(),
            hits: Vec::new(),
            row: Vec::new(),
        }
    }
}

impl Scratch {
    /// Makes it fit a model.
    pub(crate) fn reset(&mut self, model: &Model) {
        let shape = (model.bits, model.outputs(), model.rank);
        if self.shape == Some(shape) {
            return;
        }
        let tile = |dim| Tile::new(model.bits, dim, [vec![0; dim].as_slice()]);
        self.shape = Some(shape);
        self.tiles = Some([tile(model.outputs()), tile(model.rank)]);
        self.weights.resize(TILE * model.factor_groups() * GROUP, 0.0);
        self.coded.resize(TILE * model.rank, 0);
    }
}
