;; Loops without end in _initialize.
;; It burns what it has by asking for memory, not to burn the test's time.
;; Attacks: fuel of the start.
(module
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32) (i32.const 4))
  (func (export "_initialize") (loop $again (drop (memory.grow (i32.const 65535))) (br $again))))
