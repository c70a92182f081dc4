// Package tdstest is a stand-in for SQL Server, for tests where there is none: [Start].
//
// It speaks TDS 7.4 to an unmodified driver (packets, PRELOGIN, TLS inside of PRELOGIN packets, LOGIN7, SQL batches, RPC of sp_executesql,
// attention, transaction manager requests, connection reset) and keeps the state that the statements are about: logins, server
// roles, databases, users, roles and their members, schemas, tables, permissions, passwords, sessions. Statements have effect on that
// state, under the permissions of who runs them, in transactions that can be rolled back; what SQL Server refuses is refused, with its
// numbers and texts as far as they are documented. What is not known here is a syntax error that names this package: nothing is
// taken silently.
//
// What it proves is protocol, order, state and quoting, as far as this reading of the documentation goes. It does not prove that
// SQL Server agrees: its grammar here is a small part of T-SQL, names compare without regard to case, one transaction writes at a
// time while others read what was committed, and there are no columns, no rows of tables, no deadlocks and no statistics.
//
// Source: MS-TDS, and the T-SQL reference for the statements and catalogue views.
package tdstest
