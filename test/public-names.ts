import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { ClassDeclaration, InterfaceDeclaration, Node } from 'typescript/unstable/ast';
import { SyntaxKind } from 'typescript/unstable/ast';
import type { Project, Symbol as TypeSymbol } from 'typescript/unstable/sync';
import { API, SymbolFlags } from 'typescript/unstable/sync';

/** The names that a program finds when it imports a module, as the compiler reads the module's declarations. */
export interface PublicNames {
  /** Each exported name with its kind, as `interface Vif extends VifInfo`, and the members of classes and interfaces. */
  readonly names: Readonly<Record<string, readonly string[]>>;
  /** Names of the same package that stand in declarations of exported names and are not exported themselves. */
  readonly leaks: readonly string[];
  /**
   * Exported names, and members as `Vif.close`, that have no doc comment. A member that implements one of an exported base has the comment of
   * that one, as editors show it.
   */
  readonly undocumented: readonly string[];
}

/**
 * @param file the declarations of a module, as dist/index.d.ts. What lies in the folder of the first module is the same package.
 * @param others the other modules of the package, whose exports programs can import, too.
 */
export function publicNames(file: string, others: readonly string[] = []): PublicNames {
  const entry = resolve(file);
  const entries = [entry, ...others.map((other) => resolve(other))];
  const packageFolder = entries.map((path) => dirname(path)).reduce((a, b) => (a.length < b.length ? a : b));
  const folder = mkdtempSync(join(tmpdir(), 'vifd-names-'));
  // As a user's project has it: the declarations alone, and strict.
  const types = { types: ['node'], typeRoots: [resolve('node_modules/@types')] };
  const compilerOptions = {
    ...types,
    target: 'es2022',
    lib: ['es2023', 'esnext.disposable'],
    module: 'node20',
  };
  const config = join(folder, 'tsconfig.json');
  writeFileSync(
    config,
    JSON.stringify({ compilerOptions: { ...compilerOptions, strict: true }, files: entries }),
  );
  const api = new API();
  try {
    const project = api.updateSnapshot({ openProjects: [config] }).getProject(config);
    if (project === undefined) throw new Error(`${file} cannot be read`);
    const { checker } = project;
    const resolved = (symbol: TypeSymbol) =>
      (symbol.flags & SymbolFlags.Alias) === 0 ? symbol : checker.getAliasedSymbol(symbol);
    const exportsOf = (path: string): TypeSymbol[] => {
      const source = project.program.getSourceFile(path);
      const module = source === undefined ? undefined : checker.getSymbolAtLocation(source);
      if (module === undefined) throw new Error(`${path} is no module`);
      return checker.getExportsOfModule(module).map(resolved);
    };
    const symbols = exportsOf(entry);
    const exported = new Set(entries.flatMap(exportsOf).map((symbol) => symbol.id));
    const names: Record<string, string[]> = {};
    const leaks = new Set<string>();
    const comments = new Comments();
    const ofEntry = new Set(symbols.map(({ name }) => name));
    const bases = entries.slice(1).flatMap(exportsOf);
    for (const symbol of bases.filter(({ name }) => !ofEntry.has(name)))
      for (const declaration of declarationsOf(symbol, project)) comments.read(symbol.name, declaration);
    for (const symbol of symbols) {
      for (const declaration of declarationsOf(symbol, project)) {
        names[`${kindOf(declaration)} ${symbol.name}${heritageOf(declaration)}`] = [
          ...new Set(membersOf(declaration).map(([member]) => member)),
        ].sort();
        comments.read(symbol.name, declaration);
        for (const name of identifiersIn(declaration)) {
          const used = checker.getSymbolAtLocation(name);
          if (used === undefined) continue;
          const meant = resolved(used);
          // A value is the list of literals that a type is made from.
          const isType = (meant.flags & SymbolFlags.Type) !== 0;
          if (isType && !exported.has(meant.id) && isTopLevel(meant, project, packageFolder))
            leaks.add(`${meant.name} in ${symbol.name}`);
        }
      }
    }
    return { names, leaks: [...leaks].sort(), undocumented: comments.missing(ofEntry) };
  } finally {
    api.close();
    rmSync(folder, { recursive: true });
  }
}

function declarationsOf(symbol: TypeSymbol, project: Project): Node[] {
  return symbol.declarations.flatMap((handle) => handle.resolve(project) ?? []);
}

const KINDS: Readonly<Record<number, string>> = {
  [SyntaxKind.ClassDeclaration]: 'class',
  [SyntaxKind.InterfaceDeclaration]: 'interface',
  [SyntaxKind.TypeAliasDeclaration]: 'type',
  [SyntaxKind.FunctionDeclaration]: 'function',
  [SyntaxKind.VariableDeclaration]: 'const',
};

function kindOf({ kind }: Node): string {
  return KINDS[kind] ?? SyntaxKind[kind];
}

function isContainer(node: Node): node is ClassDeclaration | InterfaceDeclaration {
  return node.kind === SyntaxKind.ClassDeclaration || node.kind === SyntaxKind.InterfaceDeclaration;
}

function heritageOf(node: Node): string {
  if (!isContainer(node)) return '';
  return (node.heritageClauses ?? []).map((clause) => ` ${clause.getText()}`).join('');
}

/** Whose comment is TypeScript's own; what a disposal does stands in the comment of the class. */
const DISPOSED_BY: Readonly<Record<string, string>> = {
  AsyncDisposable: '[Symbol.asyncDispose]',
  Disposable: '[Symbol.dispose]',
};

/** Which names and members have a doc comment. */
class Comments {
  readonly #has = new Map<string, boolean>();
  readonly #bases = new Map<string, string[]>();

  read(name: string, declaration: Node): void {
    // The comment of a constant stands before its statement.
    const isVariable = declaration.kind === SyntaxKind.VariableDeclaration;
    this.#note(name, isVariable ? declaration.parent.parent : declaration);
    this.#bases.set(
      name,
      [...heritageOf(declaration).matchAll(/\w+/g)].map(([base]) => base),
    );
    for (const [member, node] of membersOf(declaration)) this.#note(`${name}.${member}`, node);
  }

  /** @param wanted the exported names that matter. */
  missing(wanted: ReadonlySet<string>): string[] {
    const inherits = (name: string, member: string): boolean =>
      (this.#bases.get(name) ?? []).some(
        (base) =>
          DISPOSED_BY[base] === member ||
          this.#has.get(`${base}.${member}`) === true ||
          inherits(base, member),
      );
    return [...this.#has]
      .filter(([name, has]) => {
        const [type = '', member] = name.split(/\.(.*)/s);
        return !has && wanted.has(type) && (member === undefined || !inherits(type, member));
      })
      .map(([name]) => name)
      .sort();
  }

  #note(name: string, node: Node): void {
    // An overloaded function or a getter with its setter needs one comment.
    const has = node.getFullText().trimStart().startsWith('/**');
    this.#has.set(name, has || this.#has.get(name) === true);
  }
}

/** Returns the members that a program can reach; one that is overloaded, or a getter with a setter, several times. */
function membersOf(node: Node): [name: string, member: Node][] {
  if (!isContainer(node)) return [];
  return node.members.flatMap((member): [string, Node][] => {
    const { modifiers: written = [], name: given } = member as { modifiers?: Iterable<Node>; name?: Node };
    const modifiers = [...written].map(({ kind }) => kind);
    if (modifiers.includes(SyntaxKind.PrivateKeyword)) return [];
    const name = member.kind === SyntaxKind.Constructor ? 'constructor' : (given?.getText() ?? '');
    if (name.startsWith('#')) return [];
    return [[`${modifiers.includes(SyntaxKind.StaticKeyword) ? 'static ' : ''}${name}`, member]];
  });
}

function identifiersIn(node: Node): Node[] {
  const found: Node[] = [];
  const visit = (at: Node): undefined => {
    if (at.kind === SyntaxKind.Identifier) found.push(at);
    at.forEachChild(visit);
  };
  visit(node);
  return found;
}

/** Whether a name is declared at the top of a file of the package, and not within another declaration. */
function isTopLevel(symbol: TypeSymbol, project: Project, folder: string): boolean {
  return declarationsOf(symbol, project).some((declaration) => {
    let { parent } = declaration;
    while (parent.kind === SyntaxKind.VariableDeclarationList || parent.kind === SyntaxKind.VariableStatement)
      parent = parent.parent;
    return (
      parent.kind === SyntaxKind.SourceFile && declaration.getSourceFile().fileName.startsWith(`${folder}/`)
    );
  });
}
