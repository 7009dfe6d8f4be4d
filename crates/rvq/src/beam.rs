//! Beam search for codes: of every stage the `beam` best sums of codewords so far go on.
//!
//! A sum is ranked by what is left of its error once ‖x‖² is taken off ([`super::codebooks`]); as nothing is rounded on the
//! way but f32 sums, that is its true residual norm.
//!
//! The sums of a beam are the leaves of a tree, the codewords they begin with in common its inner nodes. They are kept in
//! the tree's order, so that look-ups which a sum shares with the one before it, the first of its codewords being the
//! same, are taken off once for both. Those of codewords on which all agree are taken off for all later stages.

use counterpoint_core::select::{from_ordered_bits, ordered_bits};
use counterpoint_core::simd::{Simd, Work};
use counterpoint_core::vectors::Matrix;

use crate::codebooks::{BATCH, Ready};

/// Values that fill a register.
const LANES: usize = 16;
/// Maxima looked at for each sum wanted.
const MAXIMA: usize = 4;

/// Room to encode in.
#[derive(Default)]
pub(crate) struct Scratch {
    products: Vec<f32>,
    /// Of the codewords that the sum at hand begins with, the scores of the stage without the look-ups of the first, of the
    /// first two, and so on.
    layers: Vec<f32>,
    /// Scores of all codewords of a stage beside each sum.
    scores: Vec<f32>,
    maxima: Vec<f32>,
    keys: Vec<u64>,
    /// Σ s − Σ G of each sum of codewords, one of each stage so far: the larger, the nearer. Their codes lie apart.
    sums: Vec<f32>,
    next: Vec<f32>,
    codes: Vec<u8>,
    next_codes: Vec<u8>,
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
    let Scratch { layers, scores, maxima, keys, sums, next, codes, next_codes, .. } = scratch;
    let stages = out.len();
    sums.clear();
    sums.push(0.0);
    codes.clear();
    codes.resize(stages, 0);
    // Stages on which all sums agree.
    let mut common = 0;
    for stage in 0..stages {
        let (offset, size) = (ready.codebooks.offset(stage), ready.codebooks.size(stage));
        let own = &products[offset..offset + size];
        scores.clear();
        scores.resize(sums.len() * size, 0.0);
        layers.resize(layers.len().max((stage - common) * size), 0.0);
        for (s, scores) in scores.chunks_exact_mut(size).enumerate() {
            let path = |s: usize| &codes[s * stages..][common..stage];
            let shared = if s > 0 { alike(path(s - 1), path(s)) } else { 0 };
            for (l, &code) in path(s).iter().enumerate().skip(shared) {
                let from = common + l;
                let cross = &ready.cross(from, code)[offset - ready.codebooks.offset(from + 1)..];
                let (before, after) = layers.split_at_mut(l * size);
                let before = if l == 0 { own } else { &before[(l - 1) * size..] };
                // No two sums share the last.
                less(if from + 1 == stage { scores } else { after }, before, cross, size);
            }
            if common == stage {
                scores.copy_from_slice(own);
            }
            scores.iter_mut().for_each(|score| *score += sums[s]);
        }
        let wanted = if stage + 1 == stages { 1 } else { beam };
        best(scores, size, wanted, maxima, keys);
        next.clear();
        next_codes.clear();
        for &key in keys.iter() {
            let index = !(key as u32) as usize;
            let (s, code) = (index / size, index % size);
            next.push(from_ordered_bits((key >> 32) as u32));
            let from = next_codes.len();
            next_codes.extend_from_slice(&codes[s * stages..(s + 1) * stages]);
            next_codes[from + stage] = code as u8;
        }
        std::mem::swap(sums, next);
        std::mem::swap(codes, next_codes);
        let last = codes.len() - stages;
        // In the tree's order, what the first and the last have in common all have.
        while common <= stage && codes[common] == codes[last + common] {
            let after = ready.codebooks.offset(common + 1);
            let cross = ready.cross(common, codes[common]);
            products[after..].iter_mut().zip(cross).for_each(|(to, cross)| *to -= cross);
            common += 1;
        }
    }
    out.copy_from_slice(&codes[..stages]);
}

/// How many codes two paths begin with in common.
#[inline(always)]
fn alike(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The first `size` values of `a` less those of `b`.
#[inline(always)]
fn less(out: &mut [f32], a: &[f32], b: &[f32], size: usize) {
    let (out, a, b) = (&mut out[..size], &a[..size], &b[..size]);
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = a - b;
    }
}

/// The keys of the `wanted` best scores, which are those of sums with `size` codewords each, in the order of the scores.
/// Of equal ones the first are the best.
#[inline(always)]
fn best(scores: &[f32], size: usize, wanted: usize, maxima: &mut Vec<f32>, keys: &mut Vec<u64>) {
    // Maxima of disjoint sets of scores: as many scores as there are maxima are not below the least of these.
    let together = size * (MAXIMA * scores.len() / size / wanted.max(LANES)).max(1);
    maxima.clear();
    for part in scores.chunks(together) {
        let mut most = [f32::NEG_INFINITY; LANES];
        let (lines, rest) = part.as_chunks::<LANES>();
        for line in lines {
            most.iter_mut().zip(line).for_each(|(most, &score)| *most = larger(score, *most));
        }
        most.iter_mut().zip(rest).for_each(|(most, &score)| *most = larger(score, *most));
        maxima.extend_from_slice(&most);
    }
    let mut limit = f32::NEG_INFINITY;
    if let Some(at) = maxima.len().checked_sub(wanted) {
        limit = *maxima.select_nth_unstable_by(at, f32::total_cmp).1;
    }
    keys.clear();
    for (l, line) in scores.chunks(LANES).enumerate() {
        if !line.iter().fold(false, |passes, &score| passes | (score >= limit)) {
            continue;
        }
        for (i, &score) in line.iter().enumerate() {
            if score >= limit {
                let index = (l * LANES + i) as u32;
                keys.push(u64::from(ordered_bits(score)) << 32 | u64::from(!index));
            }
        }
    }
    if keys.len() > wanted {
        keys.select_nth_unstable_by(wanted - 1, |a, b| b.cmp(a));
        keys.truncate(wanted);
        keys.sort_unstable_by_key(|&key| !(key as u32));
    }
}

/// The larger of two; the second if they do not compare.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// The values of some rows of a matrix, as [`Encode`] takes them.
pub(crate) fn rows_from(rows: &Matrix<f32>, first: usize) -> (&[f32], usize, usize) {
    (&rows.values()[first * rows.stride()..], rows.stride(), rows.dim())
}
