//! Who may do what, as a table: role × action × category, as the policy in force answers.
