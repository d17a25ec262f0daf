;; Asks for more memory than it may have, again and again, 100 times a round.
;; Attacks: fuel for memory.grow, which leaves the compiled code each time.
(module
  ;;common
  (memory (export "memory") 1 65536)
  (func $attack (param $left i64) (result i32)
    (loop $again
      ;;repeat 100 (drop (memory.grow (i32.const 65535)))
      ;;again
    )
    (i32.const 4)))
