;; Has a second memory, which no snapshot holds, and counts its calls there.
;; Attacks: the refusal of several memories.
(module
  ;;common
  (memory (export "memory") 1)
  (memory $hidden 1)
  (func $attack (param $left i64) (result i32) (i32.add (i32.const 3) (memory.size $hidden))))
