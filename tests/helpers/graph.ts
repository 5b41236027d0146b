/**
 * Graphs of who imports whom: circles and floors.
 *
 * @module
 */

/** For each node, what it imports directly. Every node is a key. */
export type Graph = ReadonlyMap<string, ReadonlySet<string>>;

/** The graph of the rooms that these nodes are in. */
export function graphOf(
  nodes: readonly string[],
  next: (node: string) => readonly string[],
  roomOf = (node: string) => node,
): Graph {
  const graph = new Map(nodes.map((node) => [roomOf(node), new Set<string>()]));
  for (const node of nodes) {
    for (const room of next(node).map(roomOf)) {
      if (graph.has(room) && room !== roomOf(node)) graph.get(roomOf(node))?.add(room);
    }
  }
  return graph;
}

/** What a node reaches, itself only through a circle. */
function reached(graph: Graph, from: string): ReadonlySet<string> {
  const found = new Set(graph.get(from));
  for (const node of found) for (const next of graph.get(node) ?? []) found.add(next);
  return found;
}

/** Sets of nodes that import each other, each sorted. */
export function circlesOf(graph: Graph): readonly (readonly string[])[] {
  const reach = new Map([...graph.keys()].map((node) => [node, reached(graph, node)]));
  const circles = [...reach].filter(([node, from]) => from.has(node)).map(([node, from]) =>
    [...from].filter((other) => reach.get(other)?.has(node)).sort()
  );
  return circles.filter((circle, index) => circles.findIndex(([first]) => first === circle[0]) === index);
}

/**
 * Each node's floor: 1 for what imports nothing, else one above all that it imports. A circle is on one
 * floor.
 */
export function floorsOf(graph: Graph): ReadonlyMap<string, number> {
  const reach = new Map([...graph.keys()].map((node) => [node, reached(graph, node)]));
  const floorOf = (node: string): number => {
    const below = [...reach.get(node) ?? []].filter((other) => !reach.get(other)?.has(node));
    return 1 + Math.max(0, ...below.map(floorOf));
  };
  return new Map([...graph.keys()].map((node) => [node, floorOf(node)]));
}

/** Arrows `a --> b` that no longer path from `a` to `b` already shows. */
export function arrowsOf(graph: Graph): readonly string[] {
  return [...graph].flatMap(([from, to]) =>
    [...to].filter((node) => ![...to].some((other) => other !== node && reached(graph, other).has(node)))
      .map((node) => `${from} --> ${node}`)
  ).sort();
}
