//! The models that one budget was charged for. A call that was broken off is known to the ledger only, so the reply of a
//! run has their names from here.

use greenroom_protocol::PriceBasis;
use serde::{Deserialize, Serialize};

/// Models that are recorded for one budget; further ones are not.
pub const CHARGED_MODELS_MAX: usize = 16;

/// The models that one budget was charged for, and the basis of their prices.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChargedModels {
    /// Sorted, each once.
    names: Vec<String>,
    price: PriceBasis,
}

impl ChargedModels {
    /// Their names (`provider.name`), sorted.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The basis of their prices: assumed if that of any call was.
    #[must_use]
    pub const fn price(&self) -> PriceBasis {
        self.price
    }

    /// Adds the model of a call, and the basis of its price.
    pub(crate) fn add(&mut self, name: &str, price: PriceBasis) {
        self.price = self.price.combine(price);
        if let Err(index) = self.names.binary_search_by(|known| known.as_str().cmp(name))
            && self.names.len() < CHARGED_MODELS_MAX
        {
            self.names.insert(index, name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_one_assumed_price_remains() {
        let mut models = ChargedModels::default();
        for (name, price) in
            [("b.two", PriceBasis::Listed), ("a.one", PriceBasis::Assumed), ("b.two", PriceBasis::Listed)]
        {
            models.add(name, price);
        }
        assert_eq!(models.names(), ["a.one", "b.two"]);
        assert_eq!(models.price(), PriceBasis::Assumed);
    }

    #[test]
    fn no_more_names_are_recorded_than_the_bound_allows() {
        let mut models = ChargedModels::default();
        (0..100).for_each(|number| models.add(&format!("play.{number:03}"), PriceBasis::Listed));
        models.add("play.000", PriceBasis::Assumed);
        assert_eq!((models.names().len(), models.price()), (CHARGED_MODELS_MAX, PriceBasis::Assumed));
        assert_eq!(models.names().last().map(String::as_str), Some("play.015"));
    }
}
