//! The threads that decode: one pool a process, made when first needed and made anew after a fork.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use rayon::{ThreadPool, ThreadPoolBuilder};

struct Shared {
    pid: u32,
    pool: Arc<ThreadPool>,
}

static SHARED: AtomicPtr<Shared> = AtomicPtr::new(ptr::null_mut());

/// A pool of `threads` threads, or the process's own where none are asked for.
pub(crate) fn pool(threads: Option<usize>) -> nwc::Result<Arc<ThreadPool>> {
    const MAX_THREADS: usize = 1024;
    match threads {
        Some(n) if !(1..=MAX_THREADS).contains(&n) => Err(nwc::Error::Argument {
            argument: "threads",
            found: n.to_string(),
            allowed: format!("1 to {MAX_THREADS}"),
        }),
        Some(n) => build(n),
        None => shared(),
    }
}

fn build(n: usize) -> nwc::Result<Arc<ThreadPool>> {
    let pool = ThreadPoolBuilder::new().num_threads(n).build();
    Ok(Arc::new(pool.map_err(|e| nwc::Error::Io {
        action: "start threads for",
        path: "decoding".into(),
        source: std::io::Error::other(e),
    })?))
}

/// No lock: a thread that holds one while another forks would leave it held in the child for ever.
fn shared() -> nwc::Result<Arc<ThreadPool>> {
    let pid = std::process::id();
    loop {
        let found = SHARED.load(Ordering::Acquire);
        // SAFETY: what was stored once is never freed, so the pointer stays valid. The pool of a forked parent has
        // no threads here and cannot be dropped, either: it waits for them.
        if let Some(shared) = unsafe { found.as_ref() }
            && shared.pid == pid
        {
            return Ok(Arc::clone(&shared.pool));
        }
        let made = Box::into_raw(Box::new(Shared {
            pid,
            pool: build(0)?,
        }));
        let swapped = SHARED.compare_exchange(found, made, Ordering::AcqRel, Ordering::Acquire);
        if swapped.is_err() {
            // SAFETY: it was made above and nobody else has seen it.
            drop(unsafe { Box::from_raw(made) });
        }
    }
}
