//! What all Counterpoint methods share: the index trait, vectors, metrics, kernels, the file, threads.
//!
//! Start at [`index::AnnIndex`], the trait; [`flat::Flat`] is the simplest index that implements it.
//!
//! ```
//! use counterpoint_core::flat::Flat;
//! use counterpoint_core::index::{AnnIndex, SearchOptions};
//! use counterpoint_core::metric::Metric;
//! use counterpoint_core::threads::Control;
//! use counterpoint_core::vectors::Rows;
//!
//! let control = Control::default();
//! let mut index = Flat::new(Metric::L2);
//! index.fit(&Rows::new(&[0.0, 0.0, 3.0, 4.0, 1.0, 0.0], 2)?, None, &control)?;
//! let found = index.search(&Rows::new(&[0.9, 0.0], 2)?, &SearchOptions::new(2), &control)?;
//! assert_eq!(found.ids, [2, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `unsafe` lives in [`simd`] (kernels), in one place of [`mod@file`] (the memory map) and in `pages` (one hint to
//! the system); the lint below makes every other room say so if it tries.
#![deny(unsafe_code)]

pub mod axes;
pub mod buffer;
pub mod cluster;
pub mod eval;
pub mod file;
pub mod flat;
pub mod graph;
pub mod ids;
pub mod index;
pub mod intake;
pub mod knobs;
pub mod metric;
mod pages;
pub mod pq;
pub mod rerank;
pub mod rotate;
pub mod scan;
pub mod select;
#[allow(unsafe_code, reason = "std::arch kernels; every block argues from numbered checks")]
pub mod simd;
pub mod synth;
pub mod table;
pub mod threads;
pub mod tune;
pub mod vectors;
