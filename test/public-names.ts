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
}

/** @param file the declarations of a module, as dist/index.d.ts. What lies in its folder is the same package. */
export function publicNames(file: string): PublicNames {
  const entry = resolve(file);
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
    JSON.stringify({ compilerOptions: { ...compilerOptions, strict: true }, files: [entry] }),
  );
  const api = new API();
  try {
    const project = api.updateSnapshot({ openProjects: [config] }).getProject(config);
    const source = project?.program.getSourceFile(entry);
    if (project === undefined || source === undefined) throw new Error(`${file} cannot be read`);
    const { checker } = project;
    const module = checker.getSymbolAtLocation(source);
    if (module === undefined) throw new Error(`${file} is no module`);
    const resolved = (symbol: TypeSymbol) =>
      (symbol.flags & SymbolFlags.Alias) === 0 ? symbol : checker.getAliasedSymbol(symbol);
    const symbols = checker.getExportsOfModule(module).map(resolved);
    const exported = new Set(symbols.map((symbol) => symbol.id));
    const names: Record<string, string[]> = {};
    const leaks = new Set<string>();
    for (const symbol of symbols) {
      for (const declaration of declarationsOf(symbol, project)) {
        names[`${kindOf(declaration)} ${symbol.name}${heritageOf(declaration)}`] = membersOf(declaration);
        for (const name of identifiersIn(declaration)) {
          const used = checker.getSymbolAtLocation(name);
          if (used === undefined) continue;
          const meant = resolved(used);
          // A value is the list of literals that a type is made from.
          const isType = (meant.flags & SymbolFlags.Type) !== 0;
          if (isType && !exported.has(meant.id) && isTopLevel(meant, project, dirname(entry)))
            leaks.add(`${meant.name} in ${symbol.name}`);
        }
      }
    }
    return { names, leaks: [...leaks].sort() };
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

/** Returns the members that a program can reach. */
function membersOf(node: Node): string[] {
  if (!isContainer(node)) return [];
  const texts = node.members.flatMap((member) => {
    const { modifiers: written = [], name: given } = member as { modifiers?: Iterable<Node>; name?: Node };
    const modifiers = [...written].map(({ kind }) => kind);
    if (modifiers.includes(SyntaxKind.PrivateKeyword)) return [];
    const name = member.kind === SyntaxKind.Constructor ? 'constructor' : (given?.getText() ?? '');
    if (name.startsWith('#')) return [];
    return [`${modifiers.includes(SyntaxKind.StaticKeyword) ? 'static ' : ''}${name}`];
  });
  // A getter with its setter, and each signature of an overloaded method, is one member.
  return [...new Set(texts)].sort();
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
