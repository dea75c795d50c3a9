//! A module for Python.

#[pyo3::pymodule]
mod extension {
    use pyo3::prelude::*;

    /// Other threads run meanwhile.
    #[pyfunction]
    fn ask(python: Python<'_>, what: u32) -> u64 {
        python.detach(|| hosted::hosted_ask(what))
    }
}
