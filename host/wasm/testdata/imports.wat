;; Imports what is not offered: another module, a function that the ABI does
;; not have, one with another signature, one not served yet, and functions of
;; WASI with signatures that are not theirs.
(module
  (import "env" "abort" (func (param i32)))
  (import "postern1" "fetch" (func (param i32 i32) (result i32)))
  (import "postern1" "read" (func (param i32 i32) (result i32)))
  (import "postern1" "annotate" (func (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func))
  (import "wasi_snapshot_preview1" "path_open" (func (param i32) (result i64)))
  (memory (export "memory") 1)
  (func (export "postern_abi") (result i32) (i32.const 1))
  (func (export "postern_handle") (result i64) (i64.const 4)))
