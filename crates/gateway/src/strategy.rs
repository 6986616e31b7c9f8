//! Which fixes are on.

use std::fmt;
use std::str::FromStr;

/// What removes one component's cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fix {
    /// Connections are kept per tenant instead of opened per request.
    Pooling,
    /// A user's tenant is remembered instead of looked up in the control database.
    TenantCache,
    /// The audit row is written off the request's path.
    AsyncAudit,
    /// The indexes that the actions need are there. The gateway takes the schema as it is; who sets it up sees to this.
    Indexes,
    /// A list is one joined query paged by key, instead of a query for each row and paging by OFFSET.
    Query,
    /// The action is one call and one round trip instead of a statement at a time.
    OneCall,
}

impl Fix {
    /// Every fix, in the order a strategy names them.
    pub const ALL: [Self; 6] =
        [Self::Pooling, Self::TenantCache, Self::AsyncAudit, Self::Indexes, Self::Query, Self::OneCall];

    /// The name used in strategies, reports and docs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pooling => "pooling",
            Self::TenantCache => "tenant-cache",
            Self::AsyncAudit => "async-audit",
            Self::Indexes => "indexes",
            Self::Query => "query",
            Self::OneCall => "one-call",
        }
    }
}

/// A set of fixes: `before` is none of them, `after` all, any other is named by its fixes (`pooling+one-call`).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Strategy(u8);

impl Strategy {
    /// No fix: what was published as slow.
    pub const BEFORE: Self = Self(0);
    /// Every fix.
    pub const AFTER: Self = Self((1 << Fix::ALL.len()) - 1);

    /// This strategy with `fix` on.
    pub const fn with(self, fix: Fix) -> Self {
        Self(self.0 | 1 << fix as u8)
    }

    /// This strategy with `fix` off.
    pub const fn without(self, fix: Fix) -> Self {
        Self(self.0 & !(1 << fix as u8))
    }

    /// Whether `fix` is on.
    pub const fn has(self, fix: Fix) -> bool {
        self.0 & 1 << fix as u8 != 0
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BEFORE => f.write_str("before"),
            Self::AFTER => f.write_str("after"),
            _ => {
                let names: Vec<_> = Fix::ALL.iter().filter(|fix| self.has(**fix)).map(|fix| fix.name()).collect();
                f.write_str(&names.join("+"))
            }
        }
    }
}

impl fmt::Debug for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A strategy was named that does not exist.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown strategy {given:?}: there is no fix {fix:?}; name `before`, `after`, or fixes joined by `+`: {}",
    all_fixes()
)]
pub struct UnknownFix {
    given: String,
    fix: String,
}

fn all_fixes() -> String {
    Fix::ALL.map(Fix::name).join(", ")
}

impl FromStr for Strategy {
    type Err = UnknownFix;

    fn from_str(given: &str) -> Result<Self, UnknownFix> {
        match given {
            "before" => Ok(Self::BEFORE),
            "after" => Ok(Self::AFTER),
            _ => given.split('+').try_fold(Self::BEFORE, |strategy, name| {
                match Fix::ALL.into_iter().find(|fix| fix.name() == name) {
                    Some(fix) => Ok(strategy.with(fix)),
                    None => Err(UnknownFix { given: given.into(), fix: name.into() }),
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_fixes_reads_back_as_it_is_written() {
        for bits in 0..=Strategy::AFTER.0 {
            let strategy = Strategy(bits);
            assert_eq!(strategy.to_string().parse(), Ok(strategy));
        }
    }

    #[test]
    fn fixes_are_switched_one_by_one() {
        let strategy = Strategy::AFTER.without(Fix::Pooling);
        assert_eq!(strategy.to_string(), "tenant-cache+async-audit+indexes+query+one-call");
        assert!(!strategy.has(Fix::Pooling) && strategy.has(Fix::OneCall));
    }

    #[test]
    fn an_unknown_strategy_names_what_there_is() {
        let error = "pooling+turbo".parse::<Strategy>().unwrap_err().to_string();
        assert!(error.contains("\"turbo\"") && error.contains("tenant-cache"), "{error}");
    }
}
