//! Tuning: recall and speed over a method's knobs, measured; searches by recall.
//!
//! [`measure`] searches with settings of the knobs along their [ladders](crate::knobs::Ladder), compares what it
//! finds with exact truth, takes the time on one thread, and keeps the Pareto frontier: the settings to which no
//! other is at least equal in both. [`resolve`] puts the cheapest of them that reached a recall into the options
//! of a search.
//!
//! **What a point is good for.** It was measured for one k, on the rows and queries of that time. It is used for
//! that k and below; a larger k must be tuned for. Rows that come and go leave points as they are: approximate.
//!
//! **What depends on what.** Recall depends on data, settings and nothing else. Times decide which settings are
//! kept, so two measurements may keep different ones; of settings with equal recall and no knob larger, only the
//! smaller is kept, whatever the times.

mod measure;
mod truth;

use serde_json::{Map, Value, json};

pub use measure::measure;

use crate::file::{Contents, FormatError};
use crate::index::{AnnIndex, SearchError, SearchOptions};
use crate::knobs::{Knob, Setting};
use crate::threads::Cancelled;
use crate::vectors::{InputError, MAX_ROWS, RowSource};

/// The most points a file may hold.
const MOST_POINTS: usize = 4096;
/// The parameter of a file that holds them.
const PARAM: &str = "tuned";

/// What to measure.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Queries such as will be searched for. `None`: rows of the index, up to 1,000 drawn with a fixed seed, each
    /// without itself among its results.
    pub queries: Option<&'a dyn RowSource>,
    /// The vectors, in the order of the index's ids, to take exact truth from. `None`: those the index keeps; where these
    /// are bytes, recall is of them, and of the vectors it is a little less.
    pub vectors: Option<&'a dyn RowSource>,
    /// Neighbours wanted, at least 1.
    pub k: usize,
    /// Above 0 and at most 1. Each ladder is climbed until a setting reaches this recall.
    pub recall: f64,
}

impl Request<'_> {
    /// On rows of the index and the vectors it keeps, for `k` neighbours up to a recall of 0.95.
    pub fn new(k: usize) -> Self {
        Self { queries: None, vectors: None, k, recall: 0.95 }
    }
}

/// A setting of the knobs and what it was measured to give.
#[derive(Clone, Debug, PartialEq)]
pub struct OperatingPoint {
    /// recall@k, ties counted: see [`crate::eval`].
    pub recall: f64,
    /// Of one query in a batch, on one thread.
    pub seconds: f64,
    /// The setting.
    pub knobs: Setting,
}

/// The Pareto frontier of the settings measured: recall and seconds both rise from point to point.
#[derive(Clone, Debug, PartialEq)]
pub struct Frontier {
    k: usize,
    points: Vec<OperatingPoint>,
}

impl Frontier {
    /// The frontier of all points that were measured.
    fn new(k: usize, mut measured: Vec<OperatingPoint>) -> Self {
        // A larger setting that finds no more is out, whatever its time.
        let mut kept: Vec<OperatingPoint> = Vec::new();
        measured.sort_by(|a, b| a.knobs.values().cmp(b.knobs.values()));
        for point in measured {
            if !kept.iter().any(|p| p.recall >= point.recall && p.knobs.is_within(&point.knobs)) {
                kept.push(point);
            }
        }
        // Stable: of equals the smaller setting stays first.
        kept.sort_by(|a, b| a.seconds.total_cmp(&b.seconds).then(b.recall.total_cmp(&a.recall)));
        let mut best = f64::NEG_INFINITY;
        kept.retain(|point| {
            let more = point.recall > best;
            best = best.max(point.recall);
            more
        });
        Self { k, points: kept }
    }

    /// The k it was measured for.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The points, the cheapest first.
    pub fn points(&self) -> &[OperatingPoint] {
        &self.points
    }

    /// The cheapest point that reached `recall` for `k` neighbours.
    fn point(&self, recall: f64, k: usize) -> Result<&OperatingPoint, RecallError> {
        if k > self.k {
            return Err(RecallError::K { expected: self.k, got: k });
        }
        let best = self.points.last().map_or(0.0, |point| point.recall);
        self.points
            .iter()
            .find(|point| point.recall >= recall)
            .ok_or(RecallError::Unreached { expected: best, got: recall })
    }

    /// For people.
    pub(crate) fn figures(&self) -> Value {
        let point = |point: &OperatingPoint| {
            json!({
                "recall": point.recall,
                "queries_per_second": 1.0 / point.seconds,
                "knobs": knobs(&point.knobs),
            })
        };
        json!({ "k": self.k, "points": self.points.iter().map(point).collect::<Vec<_>>() })
    }

    /// As a file's parameter.
    pub(crate) fn param(&self) -> (String, Value) {
        let point = |point: &OperatingPoint| {
            json!({
                "recall": point.recall, "seconds": point.seconds, "knobs": knobs(&point.knobs)
            })
        };
        let points: Vec<Value> = self.points.iter().map(point).collect();
        (PARAM.to_owned(), json!({ "k": self.k, "points": points }))
    }

    /// Takes the points, if there are any, out of the file of a method with these knobs.
    ///
    /// # Errors
    /// [`FormatError`] for anything that [`Frontier::param`] would not have written.
    pub(crate) fn take(contents: &Contents, knobs: &[Knob]) -> Result<Option<Self>, FormatError> {
        let wrong = |expected: &str| FormatError::content(PARAM, expected, "something else");
        let Some(value) = contents.params().get(PARAM) else { return Ok(None) };
        let fields = value.as_object().filter(|fields| fields.len() == 2);
        let fields = fields.ok_or_else(|| wrong("k and points"))?;
        let k = fields.get("k").and_then(Value::as_u64).and_then(|k| usize::try_from(k).ok());
        let k = k.filter(|&k| k > 0).ok_or_else(|| wrong("k of at least 1"))?;
        let points = fields.get("points").and_then(Value::as_array);
        let points = points
            .filter(|points| (1..=MOST_POINTS).contains(&points.len()))
            .ok_or_else(|| wrong("1 to 4096 points"))?;
        let points: Vec<OperatingPoint> = points
            .iter()
            .map(|value| point(value, knobs).ok_or_else(|| wrong("recall, seconds and this index's knobs")))
            .collect::<Result<_, _>>()?;
        let rise = |a: &OperatingPoint, b: &OperatingPoint| a.recall < b.recall && a.seconds < b.seconds;
        if !points.is_sorted_by(rise) {
            return Err(wrong("points of rising recall and seconds"));
        }
        Ok(Some(Self { k, points }))
    }
}

fn knobs(setting: &Setting) -> Value {
    setting
        .0
        .iter()
        .map(|&(name, value)| (name.as_str().to_owned(), json!(value)))
        .collect::<Map<_, _>>()
        .into()
}

/// A point out of a file, if it is one.
fn point(value: &Value, knobs: &[Knob]) -> Option<OperatingPoint> {
    let fields = value.as_object().filter(|fields| fields.len() == 3)?;
    let number = |key| fields.get(key).and_then(Value::as_f64);
    let recall = number("recall").filter(|recall| (0.0..=1.0).contains(recall))?;
    let seconds = number("seconds").filter(|seconds| seconds.is_finite() && *seconds > 0.0)?;
    let given = fields.get("knobs")?.as_object()?;
    let tried = knobs.iter().filter(|knob| knob.ladder.is_some());
    let value = |knob: &Knob| {
        let value = usize::try_from(given.get(knob.name.as_str())?.as_u64()?).ok()?;
        (value <= MAX_ROWS).then_some((knob.name, value))
    };
    let values = tried.map(value).collect::<Option<Vec<_>>>()?;
    (values.len() == given.len()).then_some(OperatingPoint { recall, seconds, knobs: Setting(values) })
}

/// `recall` as a target.
fn checked(recall: f64) -> Result<f64, RecallError> {
    if recall > 0.0 && recall <= 1.0 { Ok(recall) } else { Err(RecallError::Range { got: recall }) }
}

/// The options that a search on `index` goes by: the knobs for `recall`, if that is given, in its place. An index whose
/// results are exact reaches any.
///
/// # Errors
/// [`SearchError::Recall`].
pub fn resolve<'a>(
    index: &dyn AnnIndex,
    options: &SearchOptions<'a>,
) -> Result<SearchOptions<'a>, SearchError> {
    let Some(recall) = options.recall else { return Ok(*options) };
    let recall = checked(recall)?;
    let mut resolved = SearchOptions { recall: None, ..*options };
    let capabilities = index.capabilities();
    if let Some(knob) = capabilities.knobs.iter().find(|knob| knob.name.of(&mut resolved).is_some()) {
        return Err(RecallError::Beside { knob: knob.name.as_str() }.into());
    }
    if resolved.stages.is_some() {
        // What was measured was measured with all of them.
        return Err(RecallError::Beside { knob: "stages" }.into());
    }
    if !capabilities.exact {
        let frontier = index.tuned().ok_or(RecallError::NotTuned)?;
        frontier.point(recall, options.k.min(index.len()))?.knobs.apply(&mut resolved);
    }
    Ok(resolved)
}

/// Why there is no point for a recall.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecallError {
    /// No share.
    #[error("recall: expected a number above 0 and at most 1, got {got}")]
    Range {
        /// What was asked for.
        got: f64,
    },
    /// Both a recall and one of the knobs that it chooses.
    #[error("{knob}: expected none beside recall, which chooses it")]
    Beside {
        /// The knob's name.
        knob: &'static str,
    },
    /// Nothing was measured on these rows.
    #[error("recall: expected an index that was tuned, got one that was not since it was fitted; call tune")]
    NotTuned,
    /// More neighbours than were measured.
    #[error("k: expected at most {expected}, for which the index was tuned, got {got}; tune it with k={got}")]
    K {
        /// The k that was tuned for.
        expected: usize,
        /// The k asked for.
        got: usize,
    },
    /// No setting that was measured reached it.
    #[error(
        "recall: expected at most {expected}, the best that tune measured, got {got}; tune measures up to its own recall"
    )]
    Unreached {
        /// The best measured.
        expected: f64,
        /// What was asked for.
        got: f64,
    },
}

/// Why an index could not be tuned. It is as it was.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TuneError {
    /// Something is wrong with the queries.
    #[error("Q: {0}")]
    Queries(InputError),
    /// No queries.
    #[error("Q: expected at least one query, got none")]
    NoQueries,
    /// Something is wrong with the vectors.
    #[error("X: {0}")]
    Vectors(InputError),
    /// Not one vector for each id.
    #[error("X: expected {expected} vectors, one for each of the index's ids in their order, got {got}")]
    Count {
        /// Rows of the index.
        expected: usize,
        /// Vectors given.
        got: usize,
    },
    /// No vectors, neither given nor kept.
    #[error("X: expected the vectors, for this index keeps none to compare with, got none")]
    NoVectors,
    /// Too few rows.
    #[error("expected an index of {expected} or more vectors to tune, got {got}")]
    Rows {
        /// 1 with queries, 2 without.
        expected: usize,
        /// Rows of the index.
        got: usize,
    },
    /// A search was refused for another reason: k is 0.
    #[error(transparent)]
    Search(SearchError),
    /// `recall` is no share.
    #[error(transparent)]
    Recall(#[from] RecallError),
    /// Stopped by the caller.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl TuneError {
    fn queries(error: InputError) -> Self {
        match error {
            InputError::Cancelled(cancelled) => TuneError::Cancelled(cancelled),
            error => TuneError::Queries(error),
        }
    }

    fn vectors(error: InputError) -> Self {
        match error {
            InputError::Cancelled(cancelled) => TuneError::Cancelled(cancelled),
            error => TuneError::Vectors(error),
        }
    }
}

impl From<SearchError> for TuneError {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Input(error) => TuneError::queries(error),
            SearchError::Recall(error) => TuneError::Recall(error),
            SearchError::Cancelled(cancelled) => TuneError::Cancelled(cancelled),
            error => TuneError::Search(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knobs::Name;
    use proptest::prelude::*;

    fn measured(recall: f64, seconds: f64, rerank: usize) -> OperatingPoint {
        OperatingPoint { recall, seconds, knobs: Setting(vec![(Name::Rerank, rerank)]) }
    }

    #[test]
    fn of_equal_recall_the_smaller_setting_stays() {
        let points = vec![measured(0.9, 2.0, 0), measured(0.9, 1.0, 20), measured(1.0, 3.0, 40)];
        let frontier = Frontier::new(10, points);
        assert_eq!(frontier.points, [measured(0.9, 2.0, 0), measured(1.0, 3.0, 40)]);
        let frontier = Frontier::new(10, vec![measured(0.9, 2.0, 0), measured(0.95, 1.0, 20)]);
        assert_eq!(frontier.points, [measured(0.95, 1.0, 20)]);
    }

    #[test]
    fn the_cheapest_that_reaches() {
        let frontier = Frontier::new(10, vec![measured(0.5, 1.0, 0), measured(0.9, 2.0, 20)]);
        let rerank = |recall, k| frontier.point(recall, k).map(|point| point.knobs.0[0].1);
        assert_eq!(rerank(0.3, 10), Ok(0));
        assert_eq!(rerank(0.5, 1), Ok(0));
        assert_eq!(rerank(0.6, 10), Ok(20));
        assert_eq!(rerank(0.91, 10), Err(RecallError::Unreached { expected: 0.9, got: 0.91 }));
        assert_eq!(rerank(0.3, 11), Err(RecallError::K { expected: 10, got: 11 }));
    }

    proptest! {
        #[test]
        fn every_point_is_matched_by_one_that_was_kept(
            points in prop::collection::vec((0_u8..6, 1_u8..6, 0_usize..4, 0_usize..4), 1..30),
        ) {
            let mut settings = std::collections::HashSet::new();
            let all: Vec<OperatingPoint> = points
                .into_iter()
                .filter(|&(_, _, a, b)| settings.insert((a, b)))
                .map(|(recall, seconds, a, b)| OperatingPoint {
                    recall: f64::from(recall),
                    seconds: f64::from(seconds),
                    knobs: Setting(vec![(Name::Rerank, a), (Name::Rerank, b)]),
                })
                .collect();
            let frontier = Frontier::new(1, all.clone());
            let kept = &frontier.points;
            prop_assert!(kept.is_sorted_by(|a, b| a.recall < b.recall && a.seconds < b.seconds));
            prop_assert!(kept.iter().all(|point| all.contains(point)));
            for point in &all {
                prop_assert!(kept.iter().any(|p| p.recall >= point.recall), "{point:?}");
            }
            // A kept point is beaten in time only by one that finds less, or is no smaller a setting.
            for p in kept {
                for q in &all {
                    let beaten = q.recall >= p.recall && q.seconds < p.seconds;
                    prop_assert!(!beaten || !q.knobs.is_within(&p.knobs), "{q:?} beats {p:?}");
                }
            }
        }
    }
}
