//! The extension module `nwc._nwc`: the facade crate for Python. `py_src/nwc` makes the public interface of it.

mod checkpoint;
mod error;
mod job;
mod options;
mod pool;

use clap::Parser;
use pyo3::prelude::*;

/// Runs the command line on `argv`, the program's name first; gives the exit code.
#[pyfunction]
fn run_cli(py: Python<'_>, argv: Vec<String>) -> i32 {
    py.detach(|| match nwc_cli::Cli::try_parse_from(argv) {
        // An exit code does not say its number: success is told from everything else by comparing.
        Ok(cli) => exit_number(nwc_cli::run(cli)),
        Err(err) => {
            // Nobody is left to tell where standard error is closed.
            let _ = err.print();
            err.exit_code()
        }
    })
}

fn exit_number(code: std::process::ExitCode) -> i32 {
    use std::process::ExitCode;
    let is = |n: u8| format!("{code:?}") == format!("{:?}", ExitCode::from(n));
    [0, 1].into_iter().find(|&n| is(n)).map_or(2, i32::from)
}

#[pymodule]
fn _nwc(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add("PRETRAINED_LAMBDAS", nwc::PRETRAINED_LAMBDAS.to_vec())?;
    m.add_class::<checkpoint::Checkpoint>()?;
    m.add_class::<job::Job>()?;
    m.add_function(wrap_pyfunction!(run_cli, m)?)?;
    m.add_function(wrap_pyfunction!(job::compress, m)?)?;
    m.add_function(wrap_pyfunction!(job::decompress, m)?)?;
    m.add_function(wrap_pyfunction!(job::verify, m)?)?;
    m.add_function(wrap_pyfunction!(job::fingerprint, m)?)?;
    m.add_function(wrap_pyfunction!(job::inspect, m)?)?;
    m.add_function(wrap_pyfunction!(job::inspection_page, m)?)?;
    Ok(())
}
