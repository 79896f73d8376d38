"""python -m experiments.causal_vs_q"""

from experiments.causal_vs_q.study import main

if __name__ == "__main__":
    main()
