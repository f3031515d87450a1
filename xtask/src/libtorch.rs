//! Finds LibTorch for `tch`, or gets the parts of it that a CPU build needs.
//!
//! `tch` 0.24 wants LibTorch 2.11.0 exactly; this file is the one place that knows the pair.
//! The order: `LIBTORCH` where it is set; else, with `LIBTORCH_USE_PYTORCH=1`, the installed Python torch;
//! else pinned wheels of the Python package index, of which only a CPU's part is unpacked into
//! `target/libtorch-2.11.0/`. CUDA is found at run time by whoever has it, so no build needs it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::fetch::{self, Wheel};
use crate::wheel;
use crate::workspace::{self, Scratch};

/// The LibTorch that `tch = "=0.24.0"` is written for.
const VERSION: &str = "2.11.0";

const INSTEAD: &str = "LIBTORCH=DIR names a LibTorch 2.11.0 that is already there (DIR/lib, DIR/include), \
    `cargo xtask test --no-torch` goes without";

const TORCH: Wheel = Wheel {
    requirement: "torch==2.11.0",
    file_name: "torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    sha256: "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a",
    size_bytes: 530_604_548,
};
const CUDA_RUNTIME: Wheel = Wheel {
    requirement: "nvidia-cuda-runtime==13.0.96",
    file_name: "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
    size_bytes: 2_243_632,
};
const CUDA_CUPTI: Wheel = Wheel {
    requirement: "nvidia-cuda-cupti==13.0.85",
    file_name: "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
    sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
    size_bytes: 10_715_597,
};

/// What a CPU build loads and includes, and where it goes. The wheel's `libtorch_cpu.so` is linked to the two of CUDA.
const TORCH_FILES: [(&str, &str); 5] = [
    ("torch/lib/libc10.so", "lib/libc10.so"),
    ("torch/lib/libtorch_cpu.so", "lib/libtorch_cpu.so"),
    ("torch/lib/libgomp.so.1", "lib/libgomp.so.1"),
    (
        "torch/lib/libtorch_global_deps.so",
        "lib/libtorch_global_deps.so",
    ),
    ("torch/include/", "include/"),
];
const CUDART: [(&str, &str); 1] = [("nvidia/cu13/lib/libcudart.so.13", "lib/libcudart.so.13")];
const CUPTI: [(&str, &str); 1] = [("nvidia/cu13/lib/libcupti.so.13", "lib/libcupti.so.13")];

/// A LibTorch that fits, ready to build and run with.
#[derive(Debug)]
pub struct LibTorch {
    /// `LIBTORCH` for torch-sys; `None` where it asks the Python torch itself.
    dir: Option<PathBuf>,
    lib_dir: PathBuf,
}

impl LibTorch {
    /// The variables that a build and a run need, with their values.
    pub fn env(&self) -> Vec<(&'static str, OsString)> {
        let mut found = vec![("LD_LIBRARY_PATH", self.library_path())];
        match &self.dir {
            Some(dir) => found.push(("LIBTORCH", dir.clone().into())),
            None => found.push(("LIBTORCH_USE_PYTORCH", "1".into())),
        }
        found
    }

    /// The same as lines that a shell evaluates.
    pub fn shell_lines(&self) -> String {
        let line = |(name, value): (&str, OsString)| {
            format!("export {name}='{}'\n", value.to_string_lossy())
        };
        self.env().into_iter().map(line).collect()
    }

    fn library_path(&self) -> OsString {
        let mut dirs = vec![self.lib_dir.clone()];
        if let Some(given) = env::var_os("LD_LIBRARY_PATH") {
            dirs.extend(env::split_paths(&given).filter(|dir| *dir != self.lib_dir));
        }
        // Fails only where a folder's name holds the separator.
        env::join_paths(dirs).unwrap_or_else(|_| self.lib_dir.clone().into())
    }
}

/// Finds or gets LibTorch.
///
/// # Errors
/// Where what the environment names does not fit, or what is missing cannot be fetched.
pub fn provide() -> Result<LibTorch> {
    if let Some(dir) = env::var_os("LIBTORCH").filter(|dir| !dir.is_empty()) {
        return given(PathBuf::from(dir));
    }
    if env::var_os("LIBTORCH_USE_PYTORCH").is_some_and(|value| value == "1") {
        return python_torch();
    }
    let dir = workspace::store().join(format!("libtorch-{VERSION}"));
    if !dir.is_dir() {
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            bail!("LibTorch is fetched for Linux on x86-64 only; {INSTEAD}");
        }
        unpack_wheels(&dir)?;
    }
    Ok(LibTorch {
        lib_dir: dir.join("lib"),
        dir: Some(dir),
    })
}

fn given(dir: PathBuf) -> Result<LibTorch> {
    let dir = dir
        .canonicalize()
        .with_context(|| format!("LIBTORCH={} is not there", dir.display()))?;
    let lib_dir = dir.join("lib");
    if !lib_dir.join("libtorch_cpu.so").exists() || !dir.join("include").is_dir() {
        bail!(
            "LIBTORCH={} holds no lib/libtorch_cpu.so or no include/",
            dir.display()
        );
    }
    if let Some(found) = header_version(&dir)
        && found != VERSION
        && env::var_os("LIBTORCH_BYPASS_VERSION_CHECK").is_none()
    {
        bail!(
            "LIBTORCH={} is version {found}, and {VERSION} is needed",
            dir.display()
        );
    }
    Ok(LibTorch {
        dir: Some(dir),
        lib_dir,
    })
}

/// The version in LibTorch's own header, where that can be read.
fn header_version(dir: &Path) -> Option<String> {
    let text = fs::read_to_string(dir.join("include/torch/headeronly/version.h")).ok()?;
    let part = |name: &str| {
        let prefix = format!("#define TORCH_VERSION_{name} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&prefix))
            .map(str::trim)
    };
    Some(format!(
        "{}.{}.{}",
        part("MAJOR")?,
        part("MINOR")?,
        part("PATCH")?
    ))
}

fn python_torch() -> Result<LibTorch> {
    // The same choice as torch-sys makes.
    let python = if env::var_os("VIRTUAL_ENV").is_some() {
        "python"
    } else {
        "python3"
    };
    let script = "import torch, pathlib\nprint(torch.__version__)\nprint(pathlib.Path(torch.__file__).parent)";
    let output = Command::new(python)
        .args(["-c", script])
        .output()
        .with_context(|| format!("LIBTORCH_USE_PYTORCH is set, but {python} cannot be started"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let (Some(version), Some(dir), true) = (lines.next(), lines.next(), output.status.success())
    else {
        bail!(
            "LIBTORCH_USE_PYTORCH is set, but `{python} -c 'import torch'` fails: `pip install torch=={VERSION}`"
        );
    };
    if version.split('+').next() != Some(VERSION) {
        bail!(
            "LIBTORCH_USE_PYTORCH is set, but {python} has torch {version}, and {VERSION} is needed"
        );
    }
    Ok(LibTorch {
        dir: None,
        lib_dir: Path::new(dir).join("lib"),
    })
}

/// Fetches the wheels and unpacks what a CPU needs, so that `dir` is there whole or not at all.
fn unpack_wheels(dir: &Path) -> Result<()> {
    let wheels: [(PathBuf, &[(&str, &str)]); 3] = [
        (fetch::wheel(&TORCH, INSTEAD)?, &TORCH_FILES),
        (fetch::wheel(&CUDA_RUNTIME, INSTEAD)?, &CUDART),
        (fetch::wheel(&CUDA_CUPTI, INSTEAD)?, &CUPTI),
    ];
    workspace::title(&format!("unpack LibTorch {VERSION} into {}", dir.display()));
    let parent = workspace::store();
    fs::create_dir_all(&parent)?;
    let making = Scratch::new_in(&parent)?;
    for (wheel, files) in &wheels {
        wheel::unpack(wheel, making.path(), files)?;
        for (_, place) in *files {
            ensure!(
                making.path().join(place).exists(),
                "{} holds nothing for {place}",
                wheel.display()
            );
        }
    }
    link("libtorch_cpu.so", &making.path().join("lib/libtorch.so"))?;
    // torch-sys reads this file to check the version.
    fs::write(making.path().join("build-version"), VERSION)?;
    workspace::put_in_place(making.path(), dir)
}

#[cfg(unix)]
fn link(target: &str, path: &Path) -> Result<()> {
    std::os::unix::fs::symlink(target, path)
        .with_context(|| format!("cannot link {}", path.display()))
}

#[cfg(not(unix))]
fn link(_target: &str, path: &Path) -> Result<()> {
    bail!("cannot link {} on this system", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn libtorch_of_version(minor: &str) -> Scratch {
        let dir = Scratch::new().unwrap();
        fs::create_dir_all(dir.path().join("lib")).unwrap();
        fs::write(dir.path().join("lib/libtorch_cpu.so"), "").unwrap();
        fs::create_dir_all(dir.path().join("include/torch/headeronly")).unwrap();
        let header = format!(
            "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR {minor}\n#define TORCH_VERSION_PATCH 0\n"
        );
        fs::write(
            dir.path().join("include/torch/headeronly/version.h"),
            header,
        )
        .unwrap();
        dir
    }

    #[test]
    fn a_given_folder_of_the_right_version_is_taken() {
        let dir = libtorch_of_version("11");
        let found = given(dir.path().to_path_buf()).unwrap();
        assert!(found.lib_dir.ends_with("lib"));
        let names: Vec<_> = found.env().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["LD_LIBRARY_PATH", "LIBTORCH"]);
        let lines = found.shell_lines();
        assert!(lines.starts_with("export LD_LIBRARY_PATH='") && lines.ends_with("'\n"));
    }

    #[test]
    fn another_version_is_refused() {
        let dir = libtorch_of_version("7");
        let error = given(dir.path().to_path_buf()).unwrap_err().to_string();
        assert!(
            error.contains("version 2.7.0, and 2.11.0 is needed"),
            "{error}"
        );
    }

    #[test]
    fn an_empty_or_absent_folder_is_refused() {
        let dir = Scratch::new().unwrap();
        assert!(
            given(dir.path().to_path_buf())
                .unwrap_err()
                .to_string()
                .contains("libtorch_cpu.so")
        );
        let absent = dir.path().join("absent");
        assert!(
            given(absent)
                .unwrap_err()
                .to_string()
                .contains("is not there")
        );
    }
}
