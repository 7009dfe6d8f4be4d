//! TurboQuant: data-oblivious codes of 1 to 4 bits a dimension (Zandieh, Daliri, Hadian, Mirrokni: "TurboQuant",
//! ICLR 2026), searched in stages.
//!
//! A vector is rotated, so that its coordinates look like those of a random point on a sphere whatever the data, and
//! every coordinate is coded by the Lloyd-Max codebook of that density ([`codebook`]). Distances are unbiased
//! estimates (see `quantizer`), a search reads the sign of every coordinate and the other bits of few rows (see
//! `staged`).
//!
//! ```
//! use counterpoint_core::index::{AnnIndex, SearchOptions};
//! use counterpoint_core::metric::Metric;
//! use counterpoint_core::threads::Control;
//! use counterpoint_core::vectors::{Keep, Rows};
//! use counterpoint_turboquant::{Allocation, Center, Parameters};
//!
//! let control = Control::default();
//! let parameters =
//!     Parameters { bits: 4, allocation: Allocation::Even, center: Center::Mean, keep: Keep::None, seed: 0 };
//! let mut index = counterpoint_turboquant::new(Metric::L2, parameters).ok_or("bits")?;
//! index.add(&Rows::new(&[0.0, 0.0, 3.0, 4.0, 1.0, 0.0], 2)?, None, &control)?;
//! let found = index.search(&Rows::new(&[0.9, 0.0], 2)?, &SearchOptions::new(2), &control)?;
//! assert_eq!(found.ids, [2, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod code;
pub mod codebook;
mod density;
mod fitted;
mod full;
mod parameters;
mod quantizer;
mod search;
mod shortlist;
mod staged;
mod store;

pub use codebook::Codebook;
pub use parameters::{Allocation, Center, Parameters, UnknownName};
pub use store::{Codes, TurboQuant, new};
