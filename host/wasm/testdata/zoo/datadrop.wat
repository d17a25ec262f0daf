;; Drops a segment, so that the next call traps at what this one could do.
;; Attacks: the refusal of instructions that change what no snapshot holds.
(module
  ;;common
  (memory (export "memory") 1)
  (data $segment "1")
  (func $attack (param $left i64) (result i32)
    (memory.init $segment (i32.const 256) (i32.const 0) (i32.const 1))
    (data.drop $segment)
    (call $answer (i32.const 256) (i32.const 1))))
