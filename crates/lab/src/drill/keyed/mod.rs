//! Messages with a key: what is done with them ([`plan`]), what has to become of them ([`fates`]), and whether it
//! did ([`check()`](check::check)). The promise that is judged is that of docs/control.md.

pub mod check;
pub mod fates;
pub mod plan;
pub(super) mod run;
pub mod verdict;
