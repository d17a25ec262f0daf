;; Traps in its start function.
(module
  (memory (export "memory") 1)
  (func $start (unreachable))
  (start $start)
  (func (export "postern_abi") (result i32) (i32.const 1))
  (func (export "postern_handle") (result i32) (i32.const 4)))
