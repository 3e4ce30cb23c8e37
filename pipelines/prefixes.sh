# Read by composition.sh, refinement.sh and ablation.sh, whose words it takes --all or --prefixes N from:
# one random prefix of each of N random sentences (4000, as in the paper), or every prefix of
# every sentence. Sets sample, options of tokenize, and positions, of forward-dump.
prefixes=4000
case ${1-} in
--all) prefixes=all; shift ;;
--prefixes) prefixes=$2; shift 2 ;;
esac
if [ "$prefixes" = all ]; then
    sample='' positions=all
else
    sample="--sample $prefixes" positions=random
fi
