//! The measurement.
//!
//! **Which settings.** The first knob that a method declares is the outer one, the last the inner one. A ladder is left
//! at the first value with which all further knobs, at their least, reach the recall asked for: what is larger could
//! only cost more. An inner ladder is also left once [`IDLE`] values in a row brought no more, as long as the outer knobs
//! can grow. Both depend on recall alone; and where no setting reaches the recall, the largest was tried.

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::truth::Reference;
use super::{Frontier, OperatingPoint, Request, TuneError, checked};
use crate::eval;
use crate::index::{AnnIndex, SearchError, SearchOptions};
use crate::knobs::Setting;
use crate::threads::Control;
use crate::vectors::{RowSource, Rows, check, check_shape};

/// Rows drawn as queries where none are given.
const SAMPLE: usize = 1000;
/// The seed they are drawn with.
const SEED: u64 = 1;
/// Searches of one setting: these many, the fastest counts.
const RUNS: std::ops::RangeInclusive<usize> = 2..=5;
/// No more than the least number of runs once they took this long.
const ENOUGH: Duration = Duration::from_secs(1);
/// Values in a row that bring no more, after which an inner ladder is left.
const IDLE: usize = 2;

/// Measures settings of the index's knobs: recall against exact truth on all threads of `control`, then time on one.
/// Progress counts settings, and truth as one.
///
/// If no setting reaches the recall asked for, that is no error: the frontier shows it.
///
/// # Errors
/// [`TuneError`].
pub fn measure(
    index: &(dyn AnnIndex + '_),
    request: &Request<'_>,
    control: &Control,
) -> Result<Frontier, TuneError> {
    let recall = checked(request.recall)?;
    if request.k == 0 {
        return Err(SearchError::K.into());
    }
    let (n, metric) = (index.len(), index.metric());
    if let Some(queries) = request.queries {
        check_shape(queries, index.dim()).map_err(TuneError::Queries)?;
    }
    if let Some(vectors) = request.vectors {
        check_shape(vectors, index.dim()).map_err(TuneError::Vectors)?;
        if vectors.len() != n {
            return Err(TuneError::Count { expected: n, got: vectors.len() });
        }
    }
    let expected = if request.queries.is_some() { 1 } else { 2 };
    if n < expected {
        return Err(TuneError::Rows { expected, got: n });
    }
    let reference = match (request.vectors, index.vectors()) {
        (Some(rows), _) => Reference { rows, prepared: false, metric },
        (None, Some(rows)) => Reference { rows, prepared: true, metric },
        (None, None) => return Err(TuneError::NoVectors),
    };
    let (sample, sampled);
    let (queries, own): (&dyn RowSource, Option<&[u32]>) = match request.queries {
        Some(queries) if queries.is_empty() => return Err(TuneError::NoQueries),
        Some(queries) => (queries, None),
        None => {
            sample = draw(n);
            let mut values = vec![0.0; sample.len() * reference.rows.dim()];
            for (&row, out) in sample.iter().zip(values.chunks_exact_mut(reference.rows.dim())) {
                reference.read(row as usize, out)?;
            }
            sampled = values;
            (&Rows::new(&sampled, reference.rows.dim()).map_err(TuneError::Vectors)?, Some(&sample))
        }
    };
    check(queries, index.dim(), control).map_err(TuneError::queries)?;

    let (mut names, mut ladders) = (Vec::new(), Vec::new());
    for knob in index.capabilities().knobs {
        if let Some(ladder) = knob.ladder {
            names.push(knob.name);
            ladders.push(ladder.values(request.k, n));
        }
    }
    control.expect(1 + ladders.iter().map(Vec::len).product::<usize>());
    let wanted = request.k.saturating_add(usize::from(own.is_some()));
    let width = wanted.min(n) - usize::from(own.is_some());
    let truth = reference.nearest(queries, wanted, control)?;
    let truth = truth.iter().enumerate().flat_map(|(query, hits)| {
        let own = own.map(|own| own[query]);
        hits.iter().filter(move |hit| Some(hit.row) != own).map(|hit| hit.distance).take(width)
    });
    let truth = truth.collect();
    control.advance(1);
    let trial = Trial { index, reference, queries, own, wanted, width, truth, control };
    let mut points = Vec::new();
    climb(&ladders, recall, &mut Vec::new(), true, &mut |values| {
        let knobs = Setting(names.iter().copied().zip(values.iter().copied()).collect());
        let point = trial.measure(knobs)?;
        let recall = point.recall;
        points.push(point);
        Ok::<_, TuneError>(recall)
    })?;
    Ok(Frontier::new(request.k, points))
}

/// Up to [`SAMPLE`] distinct rows of `n`, rising: one from each of as many equal parts.
fn draw(n: usize) -> Vec<u32> {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let count = n.min(SAMPLE) as u64;
    let start = |i: u64| i * n as u64 / count;
    (0..count).map(|i| (start(i) + random.next_u64() % (start(i + 1) - start(i))) as u32).collect()
}

/// The recall with the further knobs at their least, and the best of any.
#[derive(Clone, Copy)]
struct Reached {
    least: f64,
    best: f64,
}

/// Climbs the ladders, the first outermost; `measure` gives the recall of a value for each. `values` are those of
/// the ladders outside of these, `at_end` whether all of them are the largest.
fn climb<E>(
    ladders: &[Vec<usize>],
    target: f64,
    values: &mut Vec<usize>,
    at_end: bool,
    measure: &mut dyn FnMut(&[usize]) -> Result<f64, E>,
) -> Result<Reached, E> {
    let Some((ladder, further)) = ladders.split_first() else {
        let recall = measure(values)?;
        return Ok(Reached { least: recall, best: recall });
    };
    let mut all: Option<Reached> = None;
    let mut idle = 0;
    for &value in ladder {
        values.push(value);
        let reached = climb(further, target, values, at_end && ladder.last() == Some(&value), measure)?;
        values.pop();
        let best = all.map_or(f64::NEG_INFINITY, |all| all.best);
        // Beyond the target, where the further ladders are left early, their best says little.
        idle = if reached.best > best || reached.best >= target { 0 } else { idle + 1 };
        all =
            Some(Reached { least: all.map_or(reached.least, |all| all.least), best: best.max(reached.best) });
        if reached.least >= target || (idle == IDLE && !at_end) {
            break;
        }
    }
    Ok(all.unwrap_or(Reached { least: 0.0, best: 0.0 }))
}

/// What every setting is tried on.
struct Trial<'a> {
    index: &'a (dyn AnnIndex + 'a),
    reference: Reference<'a>,
    queries: &'a dyn RowSource,
    /// The rows that the queries are, if they are rows.
    own: Option<&'a [u32]>,
    /// Neighbours to search for, a query itself among them.
    wanted: usize,
    /// Neighbours that count.
    width: usize,
    /// Their exact distances.
    truth: Vec<f32>,
    control: &'a Control,
}

impl Trial<'_> {
    fn measure(&self, knobs: Setting) -> Result<OperatingPoint, TuneError> {
        let mut options = SearchOptions::new(self.wanted);
        knobs.apply(&mut options);
        let single = self.control.single();
        let started = Instant::now();
        let mut best = Duration::MAX;
        let mut found = None;
        for run in 1..=*RUNS.end() {
            if run > *RUNS.start() && started.elapsed() > ENOUGH {
                break;
            }
            let start = Instant::now();
            let neighbors = self.index.search(self.queries, &options, &single)?;
            best = best.min(start.elapsed());
            found = Some(neighbors);
        }
        let found = found.unwrap_or_default();
        let ids = self.index.ids();
        let mut rows = Vec::with_capacity(self.queries.len() * self.width);
        for (query, found) in found.ids.chunks(found.width.max(1)).enumerate() {
            let own = self.own.map(|own| own[query]);
            let others = found.iter().map(|&id| ids.row(id)).filter(|row| own.is_none() || *row != own);
            rows.extend(others.chain(std::iter::repeat(None)).take(self.width));
        }
        let distances = self.reference.distances(self.queries, &rows, self.width, self.control)?;
        self.control.advance(1);
        Ok(OperatingPoint {
            recall: eval::recall(&self.truth, self.width, &distances, self.width, 0.0),
            seconds: best.max(Duration::from_nanos(1)).as_secs_f64() / self.queries.len() as f64,
            knobs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_distinct_rows_from_everywhere() {
        assert_eq!(draw(2), [0, 1]);
        assert_eq!(draw(1000), (0..1000).collect::<Vec<u32>>());
        for n in [1001, 1500, 123_456, u32::MAX as usize] {
            let rows = draw(n);
            assert!(rows.len() == 1000 && rows.is_sorted_by(|a, b| a < b));
            assert!((rows[999] as usize) < n && rows[0] as usize <= n / 1000);
            assert_eq!(rows, draw(n));
        }
    }

    /// The settings that are measured, in their order.
    fn climbed(ladders: &[Vec<usize>], target: f64, recall: impl Fn(&[usize]) -> f64) -> Vec<Vec<usize>> {
        let mut measured = Vec::new();
        let climbed = climb(ladders, target, &mut Vec::new(), true, &mut |values| {
            measured.push(values.to_vec());
            Ok::<_, ()>(recall(values))
        });
        assert!(climbed.is_ok());
        measured
    }

    #[test]
    fn one_ladder_is_left_at_the_target_or_at_its_end() {
        let ladder = vec![vec![0, 1, 2, 3, 4, 5]];
        let settings = |target| climbed(&ladder, target, |v| v[0].min(2) as f64 / 4.0).len();
        assert_eq!((settings(0.25), settings(0.5), settings(0.51)), (2, 3, 6));
        assert_eq!(climbed(&[], 1.0, |_| 0.5), [[0_usize; 0]]);
    }

    #[test]
    fn the_inner_ladder_is_climbed_for_each_value_of_the_outer() {
        // To probe more lists finds more at most; to re-rank, so much of it.
        let ladders = vec![vec![1, 2, 4, 8], vec![0, 10, 20]];
        let recall = |v: &[usize]| (0.6 + 0.1 * v[0] as f64).min(1.0) - 0.2 + 0.01 * v[1] as f64;
        let expected = [[1, 0], [1, 10], [1, 20], [2, 0], [2, 10], [2, 20], [4, 0], [4, 10], [8, 0], [8, 10]];
        assert_eq!(climbed(&ladders, 0.85, recall), expected);
        assert_eq!(climbed(&ladders, 0.55, recall), [[1, 0], [1, 10], [2, 0]]);
    }

    #[test]
    fn an_inner_ladder_that_brings_no_more_is_left_but_for_the_last_outer_value() {
        let ladders = vec![vec![1, 2], vec![0, 10, 20, 30, 40]];
        let settings = climbed(&ladders, 0.9, |v| if v == [2, 40] { 0.9 } else { 0.1 * v[0] as f64 });
        assert_eq!(settings[..4], [[1, 0], [1, 10], [1, 20], [2, 0]]);
        assert_eq!((settings.len(), &settings[7][..]), (8, &[2, 40][..]));
    }
}
