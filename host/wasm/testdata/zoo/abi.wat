;; Loops without end when it is asked for its ABI.
;; It burns what it has by asking for memory, not to burn the test's time.
;; Attacks: fuel of the start.
(module
  (memory (export "memory") 1)
  (func (export "postern_abi") (result i32) (loop $again (drop (memory.grow (i32.const 65535))) (br $again)) (unreachable))
  (func (export "postern_handle") (result i32) (i32.const 4)))
