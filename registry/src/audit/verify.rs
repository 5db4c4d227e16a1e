//! Walks a chain record by record and names the first place where it does not hold.

use std::fmt;

use ed25519_dalek::VerifyingKey;
use greenroom_protocol::audit::Record;

use crate::audit::chain::{ChainRow, ChainTip, hash};
use crate::audit::head::{HeadKind, SignedHead};

/// Where a chain does not hold, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainViolation {
    /// The record is not what was written.
    Changed {
        /// Its number.
        number: u64,
    },
    /// The record is not there.
    Removed {
        /// Its number.
        number: u64,
    },
    /// The record was put in by somebody else.
    Inserted {
        /// Its number.
        number: u64,
    },
    /// The record does not follow the one before it: one of the two was replaced.
    Unlinked {
        /// Its number.
        number: u64,
    },
    /// The end is missing.
    Truncated {
        /// The last record that is there.
        after: u64,
        /// The last one that was signed.
        signed: u64,
    },
    /// The records agree with each other, but not with what was signed.
    Rewritten {
        /// The last record that a signature still holds for.
        after: u64,
        /// The signed record that is another one now.
        through: u64,
    },
    /// A signature is not the key's own.
    Forged {
        /// The record that it is about.
        number: u64,
    },
    /// There are records, but nothing that was signed.
    Unsigned,
}

impl fmt::Display for ChainViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { number } => write!(f, "record {number} was changed"),
            Self::Removed { number } => write!(f, "record {number} was removed"),
            Self::Inserted { number } => write!(f, "record {number} was inserted"),
            Self::Unlinked { number } => {
                write!(f, "record {number} does not follow record {}: one was replaced", number.saturating_sub(1))
            }
            Self::Truncated { after, signed } => {
                write!(f, "the end was cut off: record {after} is the last, but record {signed} was signed")
            }
            Self::Rewritten { after, through } => {
                write!(f, "the chain was rewritten behind record {after}: record {through} is not the one signed")
            }
            Self::Forged { number } => write!(f, "the signature for record {number} is not the key's"),
            Self::Unsigned => f.write_str("nothing was signed"),
        }
    }
}

/// What a walk along the chain found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainReport {
    /// Records that hold.
    pub records: u64,
    /// The last record before the chain begins: zero, or the last one that was pruned.
    pub anchor: u64,
    /// The last record that a signature covers. Those behind it are at most a second old, or the
    /// process died before it could sign.
    pub signed: u64,
    /// Where the chain does not hold.
    pub violation: Option<ChainViolation>,
}

impl ChainReport {
    /// True if every record is what was written.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.violation.is_none()
    }
}

/// Walks a chain from its anchor on.
#[derive(Debug)]
pub struct ChainVerifier {
    heads: Vec<SignedHead>,
    next_head: usize,
    begin: ChainTip,
    last: ChainTip,
    signed: u64,
    violation: Option<ChainViolation>,
}

impl ChainVerifier {
    /// Begins a walk. `heads` are all signed statements that were kept, in any order, anchors among
    /// them: the newest anchor is where the chain must begin.
    #[must_use]
    pub fn new(key: &VerifyingKey, mut heads: Vec<SignedHead>) -> Self {
        let forged = heads.iter().find(|head| !head.is_signed_by(key)).map(|head| head.number);
        heads.sort_by_key(|head| head.number);
        let anchor = heads.iter().rev().find(|head| head.kind == HeadKind::Anchor);
        let begin = anchor.map_or_else(ChainTip::genesis, SignedHead::tip);
        heads.retain(|head| head.number >= begin.number);
        let fault = forged.map(|number| ChainViolation::Forged { number });
        Self { heads, next_head: 0, begin, last: begin, signed: begin.number, violation: fault }.passed()
    }

    /// Begins a walk behind a record that is known to be right.
    #[must_use]
    pub(crate) const fn from_tip(last: ChainTip) -> Self {
        Self { heads: Vec::new(), next_head: 0, begin: last, last, signed: last.number, violation: None }
    }

    /// The end of what was walked, or the place where it does not hold.
    pub(crate) fn tip(&self) -> Result<ChainTip, ChainViolation> {
        self.violation.map_or(Ok(self.last), Err)
    }

    /// The number behind which the walk goes on.
    #[must_use]
    pub const fn last_number(&self) -> u64 {
        self.last.number
    }

    /// Takes the next record; after the first fault, none is looked at.
    pub fn verify_next(&mut self, row: &ChainRow) {
        if self.violation.is_some() {
            return;
        }
        match self.judge(row) {
            Ok(()) => {
                self.last = ChainTip { number: row.number, hash: row.hash };
                self.pass_heads();
            }
            Err(fault) => self.violation = Some(fault),
        }
    }

    /// Ends the walk.
    #[must_use]
    pub fn finish(mut self) -> ChainReport {
        if self.violation.is_none() {
            self.violation = self.check_tip();
        }
        ChainReport {
            records: self.last.number.saturating_sub(self.begin.number),
            anchor: self.begin.number,
            signed: self.signed,
            violation: self.violation,
        }
    }

    fn judge(&self, row: &ChainRow) -> Result<(), ChainViolation> {
        let number = self.last.number.saturating_add(1);
        if row.number != number {
            return Err(if row.number > number {
                ChainViolation::Removed { number }
            } else {
                ChainViolation::Inserted { number }
            });
        }
        let record: Record = serde_json::from_str(&row.record).map_err(|_| ChainViolation::Changed { number })?;
        if record.number > number {
            return Err(ChainViolation::Removed { number });
        }
        if record.number < number {
            return Err(ChainViolation::Inserted { number: record.number });
        }
        if hash(&record.previous, row.record.as_bytes()) != row.hash {
            return Err(ChainViolation::Changed { number });
        }
        if record.previous != self.last.hash {
            return Err(ChainViolation::Unlinked { number });
        }
        Ok(())
    }

    fn check_tip(&self) -> Option<ChainViolation> {
        let Some(last) = self.heads.last() else {
            return (self.last.number > 0).then_some(ChainViolation::Unsigned);
        };
        if last.number > self.last.number {
            return Some(ChainViolation::Truncated { after: self.last.number, signed: last.number });
        }
        let newest = self.heads.iter().max_by_key(|head| (head.number, head.at))?;
        let is_past_seal = newest.kind == HeadKind::Closed && self.last.number > newest.number;
        is_past_seal.then_some(ChainViolation::Inserted { number: newest.number.saturating_add(1) })
    }

    fn pass_heads(&mut self) {
        while let Some(head) = self.heads.get(self.next_head).filter(|head| head.number <= self.last.number) {
            if head.tip() == self.last {
                self.signed = head.number;
            } else if self.violation.is_none() {
                self.violation = Some(ChainViolation::Rewritten { after: self.signed, through: head.number });
            }
            self.next_head += 1;
        }
    }

    fn passed(mut self) -> Self {
        self.pass_heads();
        self
    }
}

#[cfg(test)]
mod tests;
