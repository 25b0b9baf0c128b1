//! Classes of trouble with the database: what an operator must look at, from the codes of `SQLite` and the
//! `SQLSTATE`s of `PostgreSQL`. Not here: what is done about it.

use super::Error;

/// What is wrong with the store; a bounded label for metrics and words for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// The disk, or the space the database may use, is full.
    DiskFull,
    /// The database, its file or its file system is read-only.
    ReadOnly,
    /// Someone else holds a lock for too long.
    Locked,
    /// The file is damaged or no database.
    Damaged,
    /// Could not be connected to, or the connection broke.
    Unreachable,
    /// No answer before the deadline, or no free connection.
    Deadline,
    /// Another replica leads: this one must not write.
    Fenced,
    /// Anything else.
    Other,
}

impl Trouble {
    /// The label of a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::ReadOnly => "read_only",
            Self::Locked => "locked",
            Self::Damaged => "damaged",
            Self::Unreachable => "unreachable",
            Self::Deadline => "deadline",
            Self::Fenced => "fenced",
            Self::Other => "other",
        }
    }

    /// In words for the person on call, with the first thing to look at.
    pub fn words(self) -> &'static str {
        match self {
            Self::DiskFull => "its disk is full: free space or move the file",
            Self::ReadOnly => "it is read-only: look at the file's rights and its mount",
            Self::Locked => "someone else holds its lock: look for a second process that writes it",
            Self::Damaged => "its file is damaged: restore it, or move it away to begin anew",
            Self::Unreachable => {
                "it cannot be reached: is the database running, the address right?"
            }
            Self::Deadline => "it does not answer in time: look at the load of disk and database",
            Self::Fenced => "another replica leads now: this one has stopped writing",
            Self::Other => "it refuses to write: the daemon's log has the database's own words",
        }
    }
}

impl Error {
    /// What class of trouble this is.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Database(error) => of_sqlx(error),
            Self::Deadline(_) => Trouble::Deadline,
            Self::Fenced => Trouble::Fenced,
            Self::Corrupt { .. } | Self::Migrate(_) => Trouble::Damaged,
            Self::Location { .. } => Trouble::Unreachable,
        }
    }
}

fn of_sqlx(error: &sqlx::Error) -> Trouble {
    match error {
        sqlx::Error::Database(error) => {
            error.code().map_or(Trouble::Other, |code| of_code(code.as_ref()))
        }
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => {
            Trouble::DiskFull
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Trouble::Unreachable,
        sqlx::Error::PoolTimedOut => Trouble::Deadline,
        _ => Trouble::Other,
    }
}

/// A `SQLSTATE` has five characters; `SQLite`'s extended result codes have fewer digits, and their lowest
/// byte is the primary code.
fn of_code(code: &str) -> Trouble {
    if code.len() == 5 {
        return match code {
            "53100" => Trouble::DiskFull,
            "25006" => Trouble::ReadOnly,
            "55P03" | "40P01" => Trouble::Locked,
            "57014" => Trouble::Deadline,
            "XX001" | "XX002" => Trouble::Damaged,
            _ if code.starts_with("08") || code.starts_with("57P") || code.starts_with("53") => {
                Trouble::Unreachable
            }
            _ => Trouble::Other,
        };
    }
    match code.parse::<u32>().map(|code| code & 0xff) {
        Ok(13) => Trouble::DiskFull,
        Ok(8) => Trouble::ReadOnly,
        Ok(5 | 6) => Trouble::Locked,
        Ok(11 | 26) => Trouble::Damaged,
        Ok(10 | 14) => Trouble::Unreachable,
        _ => Trouble::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_databases_are_told_apart() {
        let cases = [
            ("13", Trouble::DiskFull),
            ("53100", Trouble::DiskFull),
            ("8", Trouble::ReadOnly),
            ("1032", Trouble::ReadOnly),
            ("25006", Trouble::ReadOnly),
            ("5", Trouble::Locked),
            ("517", Trouble::Locked),
            ("55P03", Trouble::Locked),
            ("11", Trouble::Damaged),
            ("57P01", Trouble::Unreachable),
            ("8458", Trouble::Unreachable),
            ("23505", Trouble::Other),
            ("1", Trouble::Other),
        ];
        for (code, expected) in cases {
            assert_eq!(of_code(code), expected, "{code}");
        }
    }
}
