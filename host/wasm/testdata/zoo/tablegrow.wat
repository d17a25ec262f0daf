;; Grows a table, which lies in the host's heap and under no cap of the memory.
;; Attacks: the refusal of instructions that change a table.
(module
  ;;common
  (memory (export "memory") 1)
  (table 1 funcref)
  (func $attack (param $left i64) (result i32)
    (loop $again
      (drop (table.grow 0 (ref.null func) (i32.const 1000000)))
      ;;again
    )
    (i32.const 4)))
