// SPDX-License-Identifier: Apache-2.0
//! Figures, not checks: run by name, optimised (`docs/internals/measurements.md` has the command and what came out).
