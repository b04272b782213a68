//! The choice of every layer's encoding under a budget: a knapsack with several choices for each.
//!
//! The losses of layers add up, nearly: each is small, and none knows of the others. Bytes are
//! counted exactly enough by dynamic programming; time enters the loss with a price, which is raised
//! until the time is kept.

use std::fmt;

/// One way to encode a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Choice {
    pub bytes: usize,
    /// Time that it takes in one picture.
    pub seconds: f64,
    pub loss: f64,
}

/// What may not be exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Budget {
    pub bytes: Option<usize>,
    pub seconds: Option<f64>,
}

/// Why no choice keeps a budget: the least there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unreachable {
    Bytes(usize),
    Seconds(f64),
    /// Each could be kept, but not both.
    Both,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(least) => {
                write!(f, "the layers take {:.2} MB at least", *least as f64 / 1e6)
            }
            Self::Seconds(least) => write!(f, "the layers take {least:.3} s at least (predicted)"),
            Self::Both => f.write_str("what keeps the size does not keep the time"),
        }
    }
}

impl std::error::Error for Unreachable {}

/// Steps in which bytes are counted.
const STEPS: usize = 1 << 14;
/// How often the price of time is halved in.
const ROUNDS: usize = 40;

/// For every layer, the index of its choice; the sum of losses is the least that keeps `budget`.
pub(crate) fn choose(layers: &[Vec<Choice>], budget: Budget) -> Result<Vec<usize>, Unreachable> {
    let least = |cost: &dyn Fn(&Choice) -> f64| -> f64 {
        layers.iter().map(|c| c.iter().map(cost).fold(f64::INFINITY, f64::min)).sum()
    };
    let bytes = least(&|c| c.bytes as f64);
    if budget.bytes.is_some_and(|most| bytes > most as f64) {
        return Err(Unreachable::Bytes(bytes as usize));
    }
    let seconds = least(&|c| c.seconds);
    if budget.seconds.is_some_and(|most| seconds > most) {
        return Err(Unreachable::Seconds(seconds));
    }
    let at_price = |price: f64| knapsack(layers, budget.bytes, &|c| c.loss + price * c.seconds);
    let free = at_price(0.0).ok_or(Unreachable::Bytes(bytes as usize))?;
    let Some(most) = budget.seconds else { return Ok(free) };
    if time(layers, &free) <= most {
        return Ok(free);
    }
    // Prices so high that only time counts, and so low that it does not.
    let worst: f64 =
        layers.iter().map(|c| c.iter().map(|c| c.loss).fold(f64::MIN_POSITIVE, f64::max)).sum();
    let scale = worst / most.max(f64::MIN_POSITIVE);
    let (mut low, mut high, mut best) = (scale * 1e-9, scale * 1e12, None);
    for _ in 0..ROUNDS {
        let middle = f64::sqrt(low) * f64::sqrt(high);
        let found = at_price(middle).ok_or(Unreachable::Both)?;
        if time(layers, &found) <= most {
            (high, best) = (middle, Some(found));
        } else {
            low = middle;
        }
    }
    best.ok_or(Unreachable::Both)
}

fn time(layers: &[Vec<Choice>], chosen: &[usize]) -> f64 {
    layers.iter().zip(chosen).map(|(choices, i)| choices[*i].seconds).sum()
}

/// The cheapest choices within `most` bytes, `None` where there are none.
fn knapsack(
    layers: &[Vec<Choice>],
    most: Option<usize>,
    cost: &dyn Fn(&Choice) -> f64,
) -> Option<Vec<usize>> {
    let Some(most) = most else {
        let cheapest = |choices: &Vec<Choice>| {
            (0..choices.len()).min_by(|a, b| cost(&choices[*a]).total_cmp(&cost(&choices[*b])))
        };
        return layers.iter().map(cheapest).collect();
    };
    // Beyond the least bytes of every layer, so that rounding up cannot make a budget unreachable.
    let smallest = |choices: &Vec<Choice>| choices.iter().map(|c| c.bytes).min().unwrap_or(0);
    let spare = most.checked_sub(layers.iter().map(smallest).sum())?;
    let unit = spare.div_ceil(STEPS).max(1);
    let room = spare / unit;
    let mut costs = vec![0.0; room + 1];
    let mut picks: Vec<Vec<u8>> = Vec::with_capacity(layers.len());
    for choices in layers {
        let least = smallest(choices);
        let mut next = vec![f64::INFINITY; room + 1];
        let mut pick = vec![0; room + 1];
        for (i, choice) in choices.iter().enumerate() {
            let units = (choice.bytes - least).div_ceil(unit);
            for (at, before) in costs.iter().enumerate().take((room + 1).saturating_sub(units)) {
                let total = before + cost(choice);
                if total < next[at + units] {
                    (next[at + units], pick[at + units]) = (total, i as u8);
                }
            }
        }
        costs = next;
        picks.push(pick);
    }
    let mut at = (0..=room).min_by(|a, b| costs[*a].total_cmp(&costs[*b]))?;
    costs[at].is_finite().then_some(())?;
    let mut chosen = vec![0; layers.len()];
    for (layer, pick) in picks.iter().enumerate().rev() {
        let choice = usize::from(pick[at]);
        chosen[layer] = choice;
        at -= (layers[layer][choice].bytes - smallest(&layers[layer])).div_ceil(unit);
    }
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choice(bytes: usize, seconds: f64, loss: f64) -> Choice {
        Choice { bytes, seconds, loss }
    }

    /// All choices of all layers, tried.
    fn by_trying(layers: &[Vec<Choice>], budget: Budget) -> Option<f64> {
        let (first, rest) = match layers {
            [] => return Some(0.0),
            [first, rest @ ..] => (first, rest),
        };
        let options = first.iter().filter_map(|c| {
            let bytes = budget.bytes.map(|b| b.checked_sub(c.bytes));
            if bytes == Some(None) {
                return None;
            }
            let rest = by_trying(rest, Budget { bytes: bytes.flatten(), seconds: None })?;
            Some(c.loss + rest)
        });
        options.min_by(f64::total_cmp)
    }

    proptest! {
        #[test]
        fn the_least_loss_within_the_bytes_is_found(
            layers in prop::collection::vec(
                prop::collection::vec((1usize..50, 0.0f64..10.0), 1..4), 1..6),
            bytes in 0usize..200,
        ) {
            let layers: Vec<Vec<Choice>> = layers
                .into_iter()
                .map(|l| l.into_iter().map(|(bytes, loss)| choice(bytes, 0.0, loss)).collect())
                .collect();
            let budget = Budget { bytes: Some(bytes), seconds: None };
            let found = choose(&layers, budget).ok().map(|chosen| -> f64 {
                layers.iter().zip(&chosen).map(|(l, i)| l[*i].loss).sum()
            });
            match (found, by_trying(&layers, budget)) {
                (Some(found), Some(least)) => prop_assert!((found - least).abs() < 1e-9),
                (found, least) => prop_assert_eq!(found, least),
            }
        }
    }

    #[test]
    fn time_is_bought_where_it_is_cheapest() {
        let layers = [
            vec![choice(1, 2.0, 0.0), choice(1, 1.0, 5.0)],
            vec![choice(1, 2.0, 0.0), choice(1, 1.0, 1.0)],
        ];
        let budget = Budget { bytes: None, seconds: Some(3.5) };
        assert_eq!(choose(&layers, budget), Ok(vec![0, 1]));
    }

    #[test]
    fn a_budget_below_the_least_is_refused_with_it() {
        let layers = [vec![choice(10, 1.0, 0.0), choice(5, 1.0, 1.0)]];
        let bytes = choose(&layers, Budget { bytes: Some(4), seconds: None });
        assert_eq!(bytes, Err(Unreachable::Bytes(5)));
        let seconds = choose(&layers, Budget { bytes: None, seconds: Some(0.5) });
        assert_eq!(seconds, Err(Unreachable::Seconds(1.0)));
    }
}
