//! Long jobs: they run on a thread of their own, so that the caller's thread can show progress and hear Ctrl-C.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nwc::{DecodeOptions, Progress};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::error::{chain, raise};
use crate::options::CompressArgs;
use crate::pool::pool;

/// A job under way.
#[pyclass(frozen, module = "nwc._nwc")]
pub(crate) struct Job {
    state: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    is_cancelled: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What is being done, weights done, weights in all: one entry for each piece of work not yet reported.
    pieces: Vec<(String, u64, u64)>,
    /// JSON.
    result: Option<nwc::Result<String>>,
    has_ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Shared {
    fn start(&self, what: &str, n_weights: u64) {
        self.lock().pieces.push((what.into(), 0, n_weights));
    }

    fn advance(&self, n_weights: u64) {
        if let Some((_, done, _)) = self.lock().pieces.last_mut() {
            *done += n_weights;
        }
    }

    fn finish(&self) {}

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }
}

/// Says when dropped, in a panic too, that the job is over.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.lock().has_ended = true;
        self.0.changed.notify_all();
    }
}

#[pymethods]
impl Job {
    /// Waits up to `seconds` for the end; gives whether it has come.
    fn wait(&self, py: Python<'_>, seconds: f64) -> bool {
        py.detach(|| {
            let state = self.state.lock();
            let limit = Duration::from_secs_f64(seconds.clamp(0.0, 3600.0));
            let waited = self
                .state
                .changed
                .wait_timeout_while(state, limit, |s| !s.has_ended);
            waited.unwrap_or_else(PoisonError::into_inner).0.has_ended
        })
    }

    /// Pieces of work since the last call, the current one last: what, weights done, weights in all.
    fn progress(&self) -> Vec<(String, u64, u64)> {
        let mut state = self.state.lock();
        let pieces = state.pieces.clone();
        if pieces.len() > 1 {
            state.pieces.drain(..pieces.len() - 1);
        }
        pieces
    }

    /// Asks the job to stop.
    fn cancel(&self) {
        self.state.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// The result as JSON, once; the error where it failed.
    fn result(&self, py: Python<'_>) -> PyResult<String> {
        let result = self.state.lock().result.take();
        match result {
            Some(result) => result.map_err(|e| raise(py, &e)),
            None => Err(PyRuntimeError::new_err(
                "the job panicked; this is a bug of nwc",
            )),
        }
    }
}

fn start(
    py: Python<'_>,
    threads: Option<usize>,
    work: impl FnOnce(&dyn Progress) -> nwc::Result<String> + Send + 'static,
) -> PyResult<Job> {
    let pool = py.detach(|| pool(threads)).map_err(|e| raise(py, &e))?;
    let state = Arc::new(Shared::default());
    let shared = Arc::clone(&state);
    thread::spawn(move || {
        let end = End(shared);
        let result = pool.install(|| work(&*end.0));
        end.0.lock().result = Some(result);
    });
    Ok(Job { state })
}

fn json(value: &impl serde::Serialize) -> nwc::Result<String> {
    serde_json::to_string(value).map_err(|source| nwc::Error::Json {
        path: "the report".into(),
        source,
    })
}

/// Starts compressing; see `nwc.compress`.
#[pyfunction]
pub(crate) fn compress(
    py: Python<'_>,
    model: PathBuf,
    out: PathBuf,
    args: CompressArgs,
    threads: Option<usize>,
) -> PyResult<Job> {
    let options = args.options().map_err(|e| raise(py, &e))?;
    start(py, threads, move |progress| {
        json(&nwc::compress(&model, &out, &options, progress)?)
    })
}

/// Starts decompressing; see `nwc.decompress`.
#[pyfunction]
pub(crate) fn decompress(
    py: Python<'_>,
    path: PathBuf,
    out: PathBuf,
    threads: Option<usize>,
) -> PyResult<Job> {
    start(py, threads, move |progress| {
        nwc::decompress(&path, &out, &DecodeOptions::default(), progress)?;
        Ok("null".into())
    })
}

/// Starts verifying; see `nwc.verify`.
#[pyfunction]
pub(crate) fn verify(
    py: Python<'_>,
    path: PathBuf,
    against: Option<PathBuf>,
    threads: Option<usize>,
) -> PyResult<Job> {
    start(py, threads, move |progress| {
        let options = DecodeOptions::default();
        let found = match against {
            Some(original) => nwc::verify_against(&path, original, &options, progress)?,
            None => nwc::verify(&path, &options, progress)?,
        };
        let failures: Vec<String> = found.failures.iter().map(chain).collect();
        json(&serde_json::json!({
            "n_tensors": found.n_tensors,
            "n_files": found.n_files,
            "n_tuned": found.n_tuned,
            "failures": failures,
        }))
    })
}

/// The fingerprint of a plain checkpoint.
#[pyfunction]
pub(crate) fn fingerprint(py: Python<'_>, path: PathBuf) -> PyResult<Job> {
    start(py, None, move |_| json(&nwc::fingerprint(&path)?))
}

/// What a compressed checkpoint holds, as JSON.
#[pyfunction]
pub(crate) fn inspect(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    let report = py.detach(|| nwc::inspect(path).and_then(|report| json(&report)));
    report.map_err(|e| raise(py, &e))
}

/// The page of an inspection, which `json` is, under the heading `title`.
#[pyfunction]
pub(crate) fn inspection_page(py: Python<'_>, title: &str, json: &str) -> PyResult<String> {
    let read = serde_json::from_str::<nwc::Inspection>(json);
    let inspection = read.map_err(|source| {
        let path = "the inspection".into();
        raise(py, &nwc::Error::Json { path, source })
    })?;
    Ok(py.detach(|| inspection.to_html(title)))
}
