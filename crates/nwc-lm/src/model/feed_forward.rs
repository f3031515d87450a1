//! Feed-forward layers: gated, plain, and mixtures of experts.

use tch::{Kind, Tensor};

use super::linear::{Linear, LinearInfo, Tap};
use crate::config::{Activation, FeedForwardKind, ModelConfig};
use crate::error::Result;
use crate::names::NameTable;
use crate::tensors::Loader;

impl Activation {
    pub(crate) fn apply(self, input: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Silu => input.f_silu()?,
            Self::GeluErf => input.f_gelu("none")?,
            Self::GeluTanh => input.f_gelu("tanh")?,
            Self::Relu => input.f_relu()?,
        })
    }
}

/// One dense feed-forward layer, or one expert.
#[derive(Debug)]
pub(crate) struct Dense {
    pub(crate) gate: Option<Linear>,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    activation: Activation,
}

impl Dense {
    fn load(
        loader: &Loader<'_>,
        config: &ModelConfig,
        names: &NameTable,
        prefix: &str,
        block_idx: usize,
        expert_idx: Option<usize>,
    ) -> Result<Self> {
        let gated = config.feed_forward != FeedForwardKind::Plain;
        let linear = |name: &str, input: &str, n_in: usize, n_out: usize| {
            let info = LinearInfo {
                weight_name: format!("{prefix}.{name}.weight"),
                input_key: format!("{prefix}.{input}.weight"),
                block_idx: Some(block_idx),
                expert_idx,
                n_in,
                n_out,
                transposed: names.transposed,
            };
            let bias = config
                .biases
                .feed_forward
                .then(|| format!("{prefix}.{name}.bias"));
            Linear::load(loader, info, bias.as_deref())
        };
        let (hidden, inner) = (config.hidden_size, config.feed_forward_size);
        let first = if gated { names.gate } else { names.up };
        Ok(Self {
            gate: if gated {
                Some(linear(names.gate, first, hidden, inner)?)
            } else {
                None
            },
            up: linear(names.up, first, hidden, inner)?,
            down: linear(names.down, names.down, inner, hidden)?,
            activation: config.activation,
        })
    }

    fn forward(&self, hidden: &Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
        let inner = match &self.gate {
            Some(gate) => {
                let gate = self.activation.apply(&gate.forward(hidden, tap)?)?;
                gate.f_mul(&self.up.forward(hidden, tap)?)?
            }
            None => self.activation.apply(&self.up.forward(hidden, tap)?)?,
        };
        self.down.forward(&inner, tap)
    }

    fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.gate.iter().chain([&self.up, &self.down])
    }

    fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.gate.iter_mut().chain([&mut self.up, &mut self.down])
    }
}

#[derive(Debug)]
pub(crate) enum FeedForward {
    Dense(Box<Dense>),
    Experts {
        router: Linear,
        experts: Vec<Dense>,
        n_selected: usize,
    },
}

impl FeedForward {
    pub(crate) fn load(
        loader: &Loader<'_>,
        config: &ModelConfig,
        names: &NameTable,
        block_prefix: &str,
        block_idx: usize,
    ) -> Result<Self> {
        let FeedForwardKind::Experts {
            n_experts,
            n_selected,
        } = config.feed_forward
        else {
            let dense = Dense::load(loader, config, names, block_prefix, block_idx, None)?;
            return Ok(Self::Dense(Box::new(dense)));
        };
        let weight_name = format!("{block_prefix}.{}.weight", names.router);
        let info = LinearInfo {
            input_key: weight_name.clone(),
            weight_name,
            block_idx: Some(block_idx),
            expert_idx: None,
            n_in: config.hidden_size,
            n_out: n_experts,
            transposed: false,
        };
        let router = Linear::load(loader, info, None)?;
        let experts = (0..n_experts)
            .map(|expert_idx| {
                let prefix = format!("{block_prefix}.{}.{expert_idx}", names.expert);
                Dense::load(loader, config, names, &prefix, block_idx, Some(expert_idx))
            })
            .collect::<Result<_>>()?;
        Ok(Self::Experts {
            router,
            experts,
            n_selected,
        })
    }

    pub(crate) fn forward(&self, hidden: &Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
        let (router, experts, n_selected) = match self {
            Self::Dense(dense) => return dense.forward(hidden, tap),
            Self::Experts {
                router,
                experts,
                n_selected,
            } => (router, experts, *n_selected as i64),
        };
        let shape = hidden.size();
        let width = shape.last().copied().unwrap_or(1);
        let tokens = hidden.f_reshape([-1, width])?;
        let probabilities = router.forward(&tokens, tap)?.f_softmax(-1, Kind::Float)?;
        let (weights, selected) = probabilities.f_topk(n_selected, -1, true, true)?;
        let weights = weights.f_div(&weights.f_sum_dim_intlist(-1, true, Kind::Float)?)?;
        let mut sum = tokens.f_zeros_like()?;
        for (expert_idx, expert) in experts.iter().enumerate() {
            let hits = selected.f_eq(expert_idx as i64)?.f_nonzero()?;
            if hits.size2()?.0 == 0 {
                continue;
            }
            let token_idx = hits.f_select(1, 0)?;
            let share = weights.f_mul(&selected.f_eq(expert_idx as i64)?)?;
            let share = share
                .f_sum_dim_intlist(-1, true, Kind::Float)?
                .f_index_select(0, &token_idx)?;
            let output = expert.forward(&tokens.f_index_select(0, &token_idx)?, tap)?;
            sum = sum.f_index_add(0, &token_idx, &output.f_mul(&share)?)?;
        }
        Ok(sum.f_reshape(shape.as_slice())?)
    }

    pub(crate) fn linears(&self) -> Vec<&Linear> {
        match self {
            Self::Dense(dense) => dense.linears().collect(),
            Self::Experts {
                router, experts, ..
            } => std::iter::once(router)
                .chain(experts.iter().flat_map(Dense::linears))
                .collect(),
        }
    }

    pub(crate) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        match self {
            Self::Dense(dense) => dense.linears_mut().collect(),
            Self::Experts {
                router, experts, ..
            } => {
                let experts = experts.iter_mut().flat_map(Dense::linears_mut);
                std::iter::once(router).chain(experts).collect()
            }
        }
    }
}
