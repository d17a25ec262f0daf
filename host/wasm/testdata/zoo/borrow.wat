;; Imports a memory and a global of the host's.
;; Attacks: the check of imports; a guest owns its memory.
(module
  (import "postern1" "memory" (memory 1))
  (import "postern1" "now" (global $fuel (mut i64)))
  (export "memory" (memory 0))
  (func (export "postern_abi") (result i32) (i32.const 1))
  (func (export "postern_handle") (result i32) (i32.const 4)))
