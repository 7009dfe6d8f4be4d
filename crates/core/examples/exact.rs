//! Exact search: fit, filter, save, map.
//!
//! `cargo run --release -p counterpoint-core --example exact`

use counterpoint_core::file::Access;
use counterpoint_core::flat::Flat;
use counterpoint_core::ids::Allow;
use counterpoint_core::index::{AnnIndex, Filter, SearchOptions, open};
use counterpoint_core::metric::Metric;
use counterpoint_core::synth::{Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::Rows;

#[allow(clippy::print_stdout, reason = "an example prints")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let control = Control::default();
    let sample = sample(Shape::Clusters { clusters: 50, spread: 2.0 }, 10_000, 3, 64, 1);
    let queries = Rows::new(&sample.queries, sample.dim)?;

    let mut index: Box<dyn AnnIndex> = Box::new(Flat::new(Metric::L2));
    index.fit(&Rows::new(&sample.data, sample.dim)?, None, &control)?;
    let found = index.search(&queries, &SearchOptions::new(3), &control)?;
    println!("nearest:            {:?} at {:?}", found.ids, found.distances);

    let even: Vec<i64> = (0..10_000).step_by(2).collect();
    let options = SearchOptions { filter: Filter::Shared(Allow::Ids(&even)), ..SearchOptions::new(3) };
    println!("nearest even:       {:?}", index.search(&queries, &options, &control)?.ids);

    let path = std::env::temp_dir().join("counterpoint-exact.cp");
    index.save(&path, true, &control)?;
    let mapped = open(&path, Access::Map, true, &[("Flat", Flat::load)], &control)?;
    assert_eq!(mapped.search(&queries, &SearchOptions::new(3), &control)?, found);
    println!("saved and mapped:   {} vectors in {}", mapped.len(), path.display());
    std::fs::remove_file(path)?;
    Ok(())
}
