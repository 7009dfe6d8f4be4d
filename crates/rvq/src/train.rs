//! Learning codebooks from a sample.
//!
//! 1. *Stages.* Each stage's codewords are the k-means centroids of what the stages before leave over of each row (Juang
//!    and Gray, "Multiple stage vector quantization for speech coding", ICASSP 1982).
//! 2. *Rounds.* The sample is encoded by beam search ([`super::beam`]), then all codewords of all stages move together to
//!    suit these codes best ([`super::refine`]): so stages are no longer tuned to the greedy choices of those before. The
//!    first stages by themselves count too, a little: they are searched alone, and codes are chosen after them.
//!    A codeword that hardly any row has is put beside one that many have, and badly ([`super::repair`]).
//!
//! Nothing depends on the number of threads.

use counterpoint_core::cluster::KMeans;
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::{Simd, Work, run};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::Matrix;

use crate::beam::{Encode, Scratch, rows_from};
use crate::codebooks::{BATCH, Codebooks, Ready};
use crate::parameters::Parameters;
use crate::refine::refine;
use crate::repair::repair;

/// Rows learned from, at most: of d′ values along the axes each, in memory twice.
pub(crate) const SAMPLE: usize = 65_536;
/// Rounds of k-means in a stage.
const ITERATIONS: usize = 6;
/// Rounds of encoding and refining.
const ROUNDS: usize = 4;
/// The beam in these rounds, at most.
const BEAM: usize = 8;
/// What the first stages by themselves leave over weighs in refining, beside 1 of all stages.
const PREFIX: f32 = 0.1;
/// Sweeps of one refinement.
const SWEEPS: usize = 2;
/// Batches that one item of parallel work encodes.
const PART: usize = 8;
/// Of the data's energy, what is nothing.
const NOTHING: f64 = 1e-11;

/// Units of progress for `rows` rows.
pub(crate) fn units(rows: usize, stages: usize) -> usize {
    rows * (stages + 2 * ROUNDS)
}

/// Learns codebooks of as many stages as there is something to code for, at most those wanted. `whole` is the energy
/// beside which nothing is nothing.
pub(crate) fn train(
    rows: &Matrix<f32>,
    whole: f64,
    parameters: &Parameters,
    control: &Control,
) -> Result<Codebooks, Cancelled> {
    let mut codebooks = Codebooks::new(rows.dim());
    let mut left = rows.clone();
    for stage in 0..parameters.stages {
        if energy(&left) <= NOTHING * whole {
            control.advance(rows.rows() * (parameters.stages - stage));
            break;
        }
        let seed = parameters.seed ^ (stage as u64 + 1) << 32;
        let kmeans = KMeans { iterations: ITERATIONS, seed, ..KMeans::new(parameters.size()) };
        let found = kmeans.fit(&left, Metric::L2, 1, control)?;
        let centroids = found.centroids.rows();
        codebooks.push(centroids);
        subtract(&mut left, centroids, &found.labels, control)?;
        control.advance(rows.rows());
    }
    drop(left);
    let stages = codebooks.stages();
    for _ in 0..if stages > 0 { ROUNDS } else { 0 } {
        let codes = encode(&codebooks, rows, parameters.beam.min(BEAM), control)?;
        let mut columns = columns(&codes, stages);
        control.advance(rows.rows());
        repair(&mut codebooks, rows, &mut columns, control)?;
        refine(&mut codebooks, rows, &columns, PREFIX, SWEEPS, control)?;
        control.advance(rows.rows());
    }
    Ok(codebooks)
}

/// Σ‖row‖².
pub(crate) fn energy(rows: &Matrix<f32>) -> f64 {
    rows.values().iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>()
}

/// Codes stage after stage, from codes row after row.
pub(crate) fn columns(codes: &[u8], stages: usize) -> Vec<Vec<u8>> {
    (0..stages).map(|stage| codes.iter().skip(stage).step_by(stages).copied().collect()).collect()
}

/// Codes row after row, one byte a stage.
pub(crate) fn encode(
    codebooks: &Codebooks,
    rows: &Matrix<f32>,
    beam: usize,
    control: &Control,
) -> Result<Vec<u8>, Cancelled> {
    let ready = Ready::new(codebooks, control)?;
    let batch = BATCH * codebooks.stages();
    let mut codes = vec![0; rows.rows() * codebooks.stages()];
    control.for_each(codes.chunks_mut((PART * batch).max(1)).enumerate(), |(part, codes)| {
        let mut scratch = Scratch::default();
        for (b, codes) in codes.chunks_mut(batch).enumerate() {
            let values = rows_from(rows, (part * PART + b) * BATCH);
            run(control.level(), Encode { ready: &ready, beam, values, codes, scratch: &mut scratch });
        }
        Ok::<_, Cancelled>(())
    })?;
    Ok(codes)
}

/// Takes each row's centroid off it.
pub(crate) fn subtract(
    rows: &mut Matrix<f32>,
    centroids: &Matrix<f32>,
    labels: &[u32],
    control: &Control,
) -> Result<(), Cancelled> {
    const ROWS: usize = 1024;
    let stride = rows.stride();
    let parts = rows.values_mut().chunks_mut(ROWS * stride).zip(labels.chunks(ROWS));
    control.for_each(parts, |(rows, labels)| {
        run(control.level(), Subtract { rows, stride, centroids, labels });
        Ok(())
    })
}

struct Subtract<'a> {
    rows: &'a mut [f32],
    stride: usize,
    centroids: &'a Matrix<f32>,
    labels: &'a [u32],
}

impl Work for Subtract<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (row, &label) in self.rows.chunks_exact_mut(self.stride).zip(self.labels) {
            row.iter_mut().zip(self.centroids.padded(label as usize)).for_each(|(value, c)| *value -= c);
        }
    }
}
