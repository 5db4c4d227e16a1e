//! Verifies a hash chain record by record and reports the first violation.

use std::fmt;

use ed25519_dalek::VerifyingKey;
use greenroom_protocol::Timestamp;
use greenroom_protocol::audit::Restored;

use crate::audit::AuditSeq;
use crate::audit::chain::{ChainRow, ChainTip, RecordLink, hash};
use crate::audit::head::{HeadKind, SignedHead};

/// The first violation of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainViolation {
    /// The record was changed.
    Changed {
        /// Its number.
        number: u64,
    },
    /// The record is missing.
    Removed {
        /// Its number.
        number: u64,
    },
    /// The record was inserted later.
    Inserted {
        /// Its number.
        number: u64,
    },
    /// The record does not follow the one before it: one of the two was replaced.
    Unlinked {
        /// Its number.
        number: u64,
    },
    /// The last records are missing.
    Truncated {
        /// The last record that exists.
        after: u64,
        /// The last record that was signed.
        signed: u64,
    },
    /// The records are consistent with each other, but not with a signed head.
    Rewritten {
        /// The last record that a signed head confirms.
        after: u64,
        /// The signed record that has changed.
        through: u64,
    },
    /// A signature is not valid for the key.
    Forged {
        /// The record that the head names.
        number: u64,
    },
    /// There are records, but no signed head.
    Unsigned,
}

impl ChainViolation {
    /// The same violation in one of several chains.
    #[must_use]
    pub(crate) fn in_chain(self, chain: u64) -> Self {
        let record = |number: u64| AuditSeq::in_chain(chain, number).0;
        match self {
            Self::Changed { number } => Self::Changed { number: record(number) },
            Self::Removed { number } => Self::Removed { number: record(number) },
            Self::Inserted { number } => Self::Inserted { number: record(number) },
            Self::Unlinked { number } => Self::Unlinked { number: record(number) },
            Self::Truncated { after, signed } => Self::Truncated { after: record(after), signed: record(signed) },
            Self::Rewritten { after, through } => Self::Rewritten { after: record(after), through: record(through) },
            Self::Forged { number } => Self::Forged { number: record(number) },
            Self::Unsigned => Self::Unsigned,
        }
    }
}

impl fmt::Display for ChainViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = |number: u64| AuditSeq(number);
        match *self {
            Self::Changed { number } => write!(f, "record {} was changed", record(number)),
            Self::Removed { number } => write!(f, "record {} was removed", record(number)),
            Self::Inserted { number } => write!(f, "record {} was inserted", record(number)),
            Self::Unlinked { number } => {
                let before = record(number.saturating_sub(1));
                write!(f, "record {} does not follow record {before}: one was replaced", record(number))
            }
            Self::Truncated { after, signed } => {
                let (after, signed) = (record(after), record(signed));
                write!(f, "the chain was truncated: record {after} is the last, but record {signed} was signed")
            }
            Self::Rewritten { after, through } => {
                let (after, through) = (record(after), record(through));
                write!(f, "the chain was rewritten after record {after}: record {through} is not the one signed")
            }
            Self::Forged { number } => write!(f, "the signature for record {} is not the key's", record(number)),
            Self::Unsigned => f.write_str("no head was signed"),
        }
    }
}

/// A break of a chain: a backup has replaced the records that followed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainBreak {
    /// The record that names the break, the first one after the backup.
    pub number: u64,
    /// When the backup was restored.
    pub at: Timestamp,
    /// Who restored it, and both heads.
    pub restored: Restored,
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainReport {
    /// Valid records.
    pub records: u64,
    /// The last record before the start of the chain: zero, or the last one that was pruned.
    pub anchor: u64,
    /// The last record that a signed head confirms. Later records are at most a second old, or the
    /// process crashed before it could sign them.
    pub signed: u64,
    /// The breaks among the records: each is named by a record of its own, and is no violation.
    pub breaks: Vec<ChainBreak>,
    /// The first violation.
    pub violation: Option<ChainViolation>,
}

impl ChainReport {
    /// True if no record violates the chain.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.violation.is_none()
    }
}

/// Verifies a chain from its anchor on.
#[derive(Debug)]
pub struct ChainVerifier {
    heads: Vec<SignedHead>,
    next_head: usize,
    start: ChainTip,
    last: ChainTip,
    signed: u64,
    breaks: Vec<ChainBreak>,
    violation: Option<ChainViolation>,
}

impl ChainVerifier {
    /// Starts a verification. `heads` are all stored signed heads in any order, anchors included: the
    /// chain must start at the newest anchor.
    #[must_use]
    pub fn new(key: &VerifyingKey, mut heads: Vec<SignedHead>) -> Self {
        let forged = heads.iter().find(|head| !head.is_signed_by(key)).map(|head| head.number);
        heads.sort_by_key(|head| head.number);
        let anchor = heads.iter().rev().find(|head| head.kind == HeadKind::Anchor);
        let start = anchor.map_or_else(ChainTip::genesis, SignedHead::tip);
        heads.retain(|head| head.number >= start.number);
        let violation = forged.map(|number| ChainViolation::Forged { number });
        let breaks = Vec::new();
        Self { heads, next_head: 0, start, last: start, signed: start.number, breaks, violation }.with_checked_heads()
    }

    /// Starts a verification after a record that is known to be valid.
    #[must_use]
    pub(crate) const fn from_tip(last: ChainTip) -> Self {
        let signed = last.number;
        Self { heads: Vec::new(), next_head: 0, start: last, last, signed, breaks: Vec::new(), violation: None }
    }

    /// Starts again after a record that a signed anchor names. Heads of records before it are not compared.
    pub(crate) fn restart(&mut self, start: ChainTip) {
        self.heads.retain(|head| head.number >= start.number);
        (self.start, self.last, self.signed) = (start, start, start.number);
        self.next_head = 0;
        self.check_heads();
    }

    /// Returns the tip of the verified records, or the first violation.
    pub(crate) fn tip(&self) -> Result<ChainTip, ChainViolation> {
        self.violation.map_or(Ok(self.last), Err)
    }

    /// The number of the last verified record.
    #[must_use]
    pub const fn last_number(&self) -> u64 {
        self.last.number
    }

    /// Verifies the next record. Records after the first violation are ignored.
    pub fn verify_next(&mut self, row: &ChainRow) {
        if self.violation.is_some() {
            return;
        }
        match self.check_record(row) {
            Ok(link) => {
                self.breaks.extend(link.restored().map(|restored| ChainBreak {
                    number: link.number,
                    at: link.at,
                    restored,
                }));
                self.last = ChainTip { number: row.number, hash: row.hash };
                self.check_heads();
            }
            Err(violation) => self.violation = Some(violation),
        }
    }

    /// Ends the verification.
    #[must_use]
    pub fn finish(mut self) -> ChainReport {
        if self.violation.is_none() {
            self.violation = self.check_tip();
        }
        ChainReport {
            records: self.last.number.saturating_sub(self.start.number),
            anchor: self.start.number,
            signed: self.signed,
            breaks: self.breaks,
            violation: self.violation,
        }
    }

    /// Checks a record by what the chain needs of it. What else it contains may be of another release.
    fn check_record<'r>(&self, row: &'r ChainRow) -> Result<RecordLink<'r>, ChainViolation> {
        let number = self.last.number.saturating_add(1);
        if row.number != number {
            return Err(if row.number > number {
                ChainViolation::Removed { number }
            } else {
                ChainViolation::Inserted { number }
            });
        }
        let record = RecordLink::parse(&row.record).map_err(|_| ChainViolation::Changed { number })?;
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
        Ok(record)
    }

    fn check_tip(&self) -> Option<ChainViolation> {
        let Some(last) = self.heads.last() else {
            return (self.last.number > 0).then_some(ChainViolation::Unsigned);
        };
        if last.number > self.last.number {
            return Some(ChainViolation::Truncated { after: self.last.number, signed: last.number });
        }
        let newest = self.heads.iter().max_by_key(|head| (head.number, head.at))?;
        let is_after_close = newest.kind == HeadKind::Closed && self.last.number > newest.number;
        is_after_close.then_some(ChainViolation::Inserted { number: newest.number.saturating_add(1) })
    }

    fn check_heads(&mut self) {
        while let Some(head) = self.heads.get(self.next_head).filter(|head| head.number <= self.last.number) {
            if head.tip() == self.last {
                self.signed = head.number;
            } else if self.violation.is_none() {
                self.violation = Some(ChainViolation::Rewritten { after: self.signed, through: head.number });
            }
            self.next_head += 1;
        }
    }

    fn with_checked_heads(mut self) -> Self {
        self.check_heads();
        self
    }
}

#[cfg(test)]
mod tests;
