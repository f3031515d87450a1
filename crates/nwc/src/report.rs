//! What a compressed checkpoint holds and what it costs: the tables that `inspect` and reports show.

use std::collections::BTreeMap;
use std::path::Path;

use nwc_format::{Coding, ROLE_PAYLOAD, ShardMetadata, TensorRecord};
use serde::{Deserialize, Serialize};

use crate::family::NMSE_NORMALIZED;
use crate::role::Role;

/// How the coding of a tensor that is stored under another name begins.
const TIED_TO: &str = "tied to ";

/// One tensor of a compressed checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TensorSummary {
    /// Name in the checkpoint.
    pub name: String,
    /// Shape in the checkpoint.
    pub shape: Vec<usize>,
    /// Its own dtype, which decoding restores.
    pub dtype: String,
    /// `neural`, `trellis`, `lossless` (as it is), `packed` (coded without loss) or `tied to NAME`.
    pub coding: String,
    /// Id of the codec, where one codes it.
    pub codec: Option<String>,
    /// Weights in it.
    pub n_weights: u64,
    /// Stored bytes of all its sections.
    pub n_bytes: u64,
    /// Stored bits a weight.
    pub bpw: f64,
    /// Ideal code length a weight under the tables used, −log2 p.
    pub bpw_estimated: Option<f64>,
    /// ‖W−Ŵ‖²/‖W‖² as measured when it was coded.
    pub nmse: Option<f64>,
    /// The same after every row was divided by its scale.
    pub nmse_normalized: Option<f64>,
    /// Why it is not coded.
    pub reason: Option<String>,
}

/// Sums over a checkpoint; payload, total and estimated rates are told apart.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Parameters of the checkpoint, tied ones once.
    pub n_params: u64,
    /// Parameters that are coded.
    pub n_coded: u64,
    /// Bytes of the coded tensors: payload, scales, levels.
    pub coded_bytes: u64,
    /// Bytes of the tensors stored as they are.
    pub lossless_bytes: u64,
    /// Bytes of the codecs with their tables.
    pub codec_bytes: u64,
    /// Bytes of all shards and the index.
    pub total_bytes: u64,
    /// Bytes of the original tensors, tied ones once.
    pub original_bytes: u64,
    /// Σ −log2 p over the coded tensors, in bits a coded weight.
    pub bpw_estimated: f64,
    /// Stored payload, scales and levels in bits a coded weight.
    pub bpw_payload: f64,
    /// The same over the linear weights alone, without embeddings and head.
    pub bpw_payload_linear: f64,
    /// All bytes of shards and index in bits a parameter.
    pub bpw_total: f64,
    /// Mean nMSE of the coded tensors, weighted by their number of weights.
    pub nmse: f64,
    /// Mean nMSE of the linear weights after row normalisation.
    pub nmse_normalized_linear: f64,
    /// Stored payload bytes alone over the ideal code length, minus 1.
    pub payload_overhead: f64,
}

/// Everything `inspect` knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inspection {
    /// Version of the container.
    pub format_version: u32,
    /// What wrote it.
    pub generator: String,
    /// Fingerprint of the original weights.
    pub fingerprint: String,
    /// A row per tensor, in file order.
    pub tensors: Vec<TensorSummary>,
    /// The other files of the original folder, by path, with the BLAKE3 digest of each as it was there.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// How the checkpoint came about, as far as that was noted.
    #[serde(default)]
    pub provenance: BTreeMap<String, String>,
    /// Sums.
    pub totals: Totals,
    #[serde(skip)]
    pub(crate) sums: Sums,
}

impl Inspection {
    pub(crate) fn new<'a>(
        shards: impl IntoIterator<Item = &'a ShardMetadata>,
        total_bytes: u64,
    ) -> Self {
        let mut tensors = Vec::new();
        let mut sums = Sums::default();
        let mut codec_bytes = 0;
        let mut head = (0, String::new(), String::new());
        let (mut files, mut provenance) = (BTreeMap::new(), BTreeMap::new());
        for shard in shards {
            head = (
                shard.version,
                shard.generator.clone(),
                shard.fingerprint.to_string(),
            );
            let carried = shard.files.iter();
            files.extend(carried.map(|(path, digest)| (path.clone(), digest.to_string())));
            provenance.extend(shard.provenance.clone());
            codec_bytes += shard.codecs.iter().map(|c| c.bytes).sum::<u64>();
            for record in &shard.tensors {
                let summary = summarize(record);
                sums.add(record, &summary);
                tensors.push(summary);
            }
        }
        Self {
            format_version: head.0,
            generator: head.1,
            fingerprint: head.2,
            tensors,
            files,
            provenance,
            totals: sums.totals(codec_bytes, total_bytes),
            sums,
        }
    }

    /// One list of what is in several folders, the root's first: names and paths with those of their folders before them.
    pub(crate) fn joined<'a>(folders: impl IntoIterator<Item = (&'a Path, Self)>) -> Self {
        let mut all = Self::new([], 0);
        for (idx, (path, folder)) in folders.into_iter().enumerate() {
            let (codec_bytes, total_bytes) = (
                all.totals.codec_bytes + folder.totals.codec_bytes,
                all.totals.total_bytes + folder.totals.total_bytes,
            );
            if idx == 0 {
                all = folder;
                continue;
            }
            let below = |name: &str| format!("{}/{name}", path.display());
            all.tensors
                .extend(folder.tensors.into_iter().map(|mut tensor| {
                    tensor.name = below(&tensor.name);
                    if let Some(name) = tensor.coding.strip_prefix(TIED_TO) {
                        tensor.coding = format!("{TIED_TO}{}", below(name));
                    }
                    tensor
                }));
            let files = folder.files.into_iter();
            all.files
                .extend(files.map(|(path, digest)| (below(&path), digest)));
            all.sums.join(&folder.sums);
            all.totals = all.sums.totals(codec_bytes, total_bytes);
        }
        all
    }
}

fn summarize(record: &TensorRecord) -> TensorSummary {
    let n_weights = record.shape.iter().map(|&n| n as u64).product::<u64>();
    let n_bytes = record.sections.iter().map(|s| s.bytes).sum::<u64>();
    let (coding, codec, nmse_normalized) = match &record.coding {
        Coding::Coded {
            family,
            codec,
            parameters,
            ..
        } => (
            family.clone(),
            Some(codec.clone()),
            parameters.get(NMSE_NORMALIZED).copied(),
        ),
        Coding::Packed { .. } => ("packed".into(), None, None),
        Coding::Raw => ("lossless".into(), None, None),
        Coding::TiedTo { name } => (format!("{TIED_TO}{name}"), None, None),
    };
    let per_weight = |bits: f64| bits / (n_weights.max(1) as f64);
    TensorSummary {
        name: record.name.clone(),
        shape: record.shape.clone(),
        dtype: record.dtype.to_string(),
        coding,
        codec,
        n_weights,
        n_bytes,
        bpw: per_weight(n_bytes as f64 * 8.0),
        bpw_estimated: record.bits_estimated.map(per_weight),
        nmse: record.nmse,
        nmse_normalized,
        reason: record.reason.clone(),
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Sums {
    n_params: u64,
    n_coded: u64,
    n_linear: u64,
    coded_bytes: u64,
    linear_bytes: u64,
    payload_bytes: u64,
    lossless_bytes: u64,
    original_bytes: u64,
    bits_estimated: f64,
    weighted_nmse: f64,
    weighted_nmse_normalized: f64,
}

impl Sums {
    fn add(&mut self, record: &TensorRecord, summary: &TensorSummary) {
        if matches!(record.coding, Coding::TiedTo { .. }) {
            return;
        }
        let n = summary.n_weights;
        self.n_params += n;
        self.original_bytes += n * record.dtype.size() as u64;
        if !matches!(record.coding, Coding::Coded { .. }) {
            self.lossless_bytes += summary.n_bytes;
            return;
        }
        self.n_coded += n;
        self.coded_bytes += summary.n_bytes;
        self.payload_bytes += record
            .sections
            .iter()
            .filter(|s| s.role == ROLE_PAYLOAD)
            .map(|s| s.bytes)
            .sum::<u64>();
        self.bits_estimated += record.bits_estimated.unwrap_or(0.0);
        self.weighted_nmse += summary.nmse.unwrap_or(0.0) * n as f64;
        if Role::of(&record.name).is_linear() {
            self.n_linear += n;
            self.linear_bytes += summary.n_bytes;
            self.weighted_nmse_normalized += summary.nmse_normalized.unwrap_or(0.0) * n as f64;
        }
    }

    fn join(&mut self, other: &Self) {
        self.n_params += other.n_params;
        self.n_coded += other.n_coded;
        self.n_linear += other.n_linear;
        self.coded_bytes += other.coded_bytes;
        self.linear_bytes += other.linear_bytes;
        self.payload_bytes += other.payload_bytes;
        self.lossless_bytes += other.lossless_bytes;
        self.original_bytes += other.original_bytes;
        self.bits_estimated += other.bits_estimated;
        self.weighted_nmse += other.weighted_nmse;
        self.weighted_nmse_normalized += other.weighted_nmse_normalized;
    }

    fn totals(&self, codec_bytes: u64, total_bytes: u64) -> Totals {
        let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        let bpw = |bytes: u64, n: u64| ratio(bytes as f64 * 8.0, n as f64);
        let n_coded = self.n_coded as f64;
        Totals {
            n_params: self.n_params,
            n_coded: self.n_coded,
            coded_bytes: self.coded_bytes,
            lossless_bytes: self.lossless_bytes,
            codec_bytes,
            total_bytes,
            original_bytes: self.original_bytes,
            bpw_estimated: ratio(self.bits_estimated, n_coded),
            bpw_payload: bpw(self.coded_bytes, self.n_coded),
            bpw_payload_linear: bpw(self.linear_bytes, self.n_linear),
            bpw_total: bpw(total_bytes, self.n_params),
            nmse: ratio(self.weighted_nmse, n_coded),
            nmse_normalized_linear: ratio(self.weighted_nmse_normalized, self.n_linear as f64),
            payload_overhead: if self.bits_estimated > 0.0 {
                self.payload_bytes as f64 * 8.0 / self.bits_estimated - 1.0
            } else {
                0.0
            },
        }
    }
}
