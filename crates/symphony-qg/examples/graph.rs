//! Builds a graph, searches it with more and more candidates, and lets it choose them for a recall.
//!
//! Run with `cargo run --release -p counterpoint-symphony-qg --example graph`.
#![allow(clippy::print_stdout, reason = "it is a program")]

use std::error::Error;
use std::time::Instant;

use counterpoint_core::index::{AnnIndex, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::synth::{Sample, Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::tune::Request;
use counterpoint_core::vectors::Rows;
use counterpoint_symphony_qg::Parameters;

fn main() -> Result<(), Box<dyn Error>> {
    let (n, dim) = (20_000, 128);
    let Sample { data, queries, .. } = sample(Shape::PowerLaw { decay: 0.5 }, n, 200, dim, 1);
    let (data, queries) = (Rows::new(&data, dim)?, Rows::new(&queries, dim)?);
    let control = Control::default();

    let mut index = counterpoint_symphony_qg::new(Metric::L2, Parameters::default()).ok_or("parameters")?;
    let start = Instant::now();
    index.fit(&data, None, &control)?;
    println!("{n} vectors of {dim} dimensions: built in {:.2} s", start.elapsed().as_secs_f64());

    let index: &mut dyn AnnIndex = &mut index;
    let frontier = index.tune(&Request { queries: Some(&queries), ..Request::new(10) }, &control)?;
    for point in frontier.points() {
        let knobs: Vec<String> =
            point.knobs.0.iter().map(|(name, value)| format!("{} {value}", name.as_str())).collect();
        println!("recall {:.3} at {:6.0} queries/s: {}", point.recall, 1.0 / point.seconds, knobs.join(", "));
    }
    let options = SearchOptions { recall: Some(0.9), ..SearchOptions::new(10) };
    let found = index.search(&queries, &options, &control)?;
    println!("the first query's neighbours at recall 0.9: {:?}", &found.ids[..found.width]);
    Ok(())
}
