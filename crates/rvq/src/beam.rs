//! Beam search for codes: of every stage the `beam` best sums of codewords so far go on.
//!
//! A sum is ranked by what is left of its error once ‖x‖² is taken off ([`super::codebooks`]); as nothing is rounded on the
//! way but f32 sums, that is its true residual norm. Once all sums of the beam agree on a codeword, its look-ups are
//! taken off the products of all later stages once, and no longer for each sum.

use counterpoint_core::select::{from_ordered_bits, ordered_bits};
use counterpoint_core::simd::{Simd, Work};
use counterpoint_core::vectors::Matrix;

use crate::codebooks::{BATCH, Ready};

/// Values that fill a register.
const LANES: usize = 16;

/// Room to encode in.
#[derive(Default)]
pub(crate) struct Scratch {
    products: Vec<f32>,
    row: Vec<f32>,
    keys: Vec<u64>,
    sums: Vec<Sum>,
    next: Vec<Sum>,
    codes: Vec<u8>,
    next_codes: Vec<u8>,
}

/// A sum of codewords, one of each stage so far; its codes lie apart.
#[derive(Clone, Copy)]
struct Sum {
    /// Σ s − Σ G: the larger, the nearer.
    score: f32,
}

/// Encodes up to [`BATCH`] vectors.
pub(crate) struct Encode<'a, 'b> {
    pub(crate) ready: &'a Ready<'b>,
    pub(crate) beam: usize,
    /// Vectors, their distance and length.
    pub(crate) values: (&'a [f32], usize, usize),
    /// One byte a stage, vector after vector.
    pub(crate) codes: &'a mut [u8],
    pub(crate) scratch: &'a mut Scratch,
}

impl Work for Encode<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { ready, beam, values, codes, scratch } = self;
        let (stages, words) = (ready.codebooks.stages(), ready.panels.rows());
        if stages == 0 {
            return;
        }
        let count = codes.len() / stages;
        debug_assert!(count <= BATCH);
        let mut products = std::mem::take(&mut scratch.products);
        products.resize(BATCH * words, 0.0);
        ready.panels.multiply(simd, values, count, &mut products, words);
        for (codes, products) in codes.chunks_exact_mut(stages).zip(products.chunks_exact_mut(words)) {
            one(ready, beam, products, codes, scratch);
        }
        scratch.products = products;
    }
}

/// Encodes the vector whose products with all codewords are `products`, which are changed.
#[inline(always)]
fn one(ready: &Ready<'_>, beam: usize, products: &mut [f32], out: &mut [u8], scratch: &mut Scratch) {
    let Scratch { row, keys, sums, next, codes, next_codes, .. } = scratch;
    let stages = out.len();
    sums.clear();
    sums.push(Sum { score: 0.0 });
    codes.clear();
    codes.resize(stages, 0);
    // Stages on which all sums agree.
    let mut common = 0;
    for stage in 0..stages {
        let (offset, size) = (ready.codebooks.offset(stage), ready.codebooks.size(stage));
        let ahead = |from: usize| offset - ready.codebooks.offset(from + 1);
        row.resize(size, 0.0);
        keys.clear();
        let mut bound = 0;
        for (s, (sum, codes)) in sums.iter().zip(codes.chunks_exact(stages)).enumerate() {
            row.copy_from_slice(&products[offset..offset + size]);
            for from in common..stage {
                let cross = &ready.cross(from, codes[from])[ahead(from)..][..size];
                row.iter_mut().zip(cross).for_each(|(to, cross)| *to -= cross);
            }
            bound = offer(row, sum.score, (s * size) as u32, beam, bound, keys);
        }
        keep(keys, beam);
        keys.sort_unstable_by(|a, b| b.cmp(a));
        next.clear();
        next_codes.clear();
        for &key in keys.iter() {
            let index = !(key as u32) as usize;
            let (s, code) = (index / size, index % size);
            next.push(Sum { score: from_ordered_bits((key >> 32) as u32) });
            let from = next_codes.len();
            next_codes.extend_from_slice(&codes[s * stages..(s + 1) * stages]);
            next_codes[from + stage] = code as u8;
        }
        std::mem::swap(sums, next);
        std::mem::swap(codes, next_codes);
        while common <= stage && agree(codes, stages, common) {
            let after = ready.codebooks.offset(common + 1);
            let cross = ready.cross(common, codes[common]);
            products[after..].iter_mut().zip(cross).for_each(|(to, cross)| *to -= cross);
            common += 1;
        }
    }
    out.copy_from_slice(&codes[..stages]);
}

/// Whether all sums have the same codeword of a stage.
#[inline(always)]
fn agree(codes: &[u8], stages: usize, stage: usize) -> bool {
    codes.iter().skip(stage).step_by(stages).all(|&code| code == codes[stage])
}

/// Takes in the scores that may be among the `beam` best, each as a key: by score, then the lower index. Returns what keys must
/// exceed.
#[inline(always)]
fn offer(row: &[f32], base: f32, first: u32, beam: usize, mut bound: u64, keys: &mut Vec<u64>) -> u64 {
    let mut limit = from_ordered_bits((bound >> 32) as u32);
    if bound == 0 {
        limit = f32::NEG_INFINITY;
    }
    for (c, chunk) in row.chunks(LANES).enumerate() {
        let most = chunk.iter().fold(f32::NEG_INFINITY, |most, &v| if v > most { v } else { most });
        if most + base < limit {
            continue;
        }
        for (i, &value) in chunk.iter().enumerate() {
            let score = value + base;
            if score >= limit {
                keys.push(
                    u64::from(ordered_bits(score)) << 32 | u64::from(!(first + (c * LANES + i) as u32)),
                );
            }
        }
        if keys.len() >= 4 * beam.max(LANES) {
            keep(keys, beam);
            if let Some(&least) = keys.iter().min() {
                bound = least;
                limit = from_ordered_bits((bound >> 32) as u32);
            }
        }
    }
    bound
}

/// Leaves the `beam` largest keys.
#[inline(always)]
fn keep(keys: &mut Vec<u64>, beam: usize) {
    if keys.len() > beam {
        keys.select_nth_unstable_by(beam - 1, |a, b| b.cmp(a));
        keys.truncate(beam);
    }
}

/// The values of some rows of a matrix, as [`Encode`] takes them.
pub(crate) fn rows_from(rows: &Matrix<f32>, first: usize) -> (&[f32], usize, usize) {
    (&rows.values()[first * rows.stride()..], rows.stride(), rows.dim())
}
